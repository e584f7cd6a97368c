//! The first-run wizard: behind a code, step by step, and gone once there is a practice.

use std::path::PathBuf;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use time::Duration;

use crate::support::{Bare, Client, Clinic, connect_as};

const CODE: &str = "7KQ2-9F4M-ZT3A";
const KEY: &str = "AAAA-BBBB-CCCC-DDDD-EEEE-FFFF-GGGG-HHHH-JJJJ-KKKK-MMMM-NNNN-PPPP-QQQQ";

fn code_hash(code: &str) -> String {
    hex::encode(Sha256::digest(code.replace('-', "").as_bytes()))
}

async fn fresh() -> Bare {
    let bare = Bare::start().await;
    let put =
        |name: &str, text: &str| std::fs::write(bare.config.setup_dir.join(name), text).unwrap();
    put("code.sha256", &format!("{}\n", code_hash(CODE)));
    put("recovery", KEY);
    put(
        "disks.json",
        &json!([{"id": "wd-1", "label": "USB disk WD", "mount": null, "file_system": "ext4", "bytes": 2_000_000_000_000_u64, "free": null, "removable": true}])
            .to_string(),
    );
    bare
}

/// Types the code; gives whoever may go on.
async fn invited(bare: &Bare) -> Client {
    let reply = bare
        .stranger()
        .post_form("/setup", &[("code", " 7kq2 9f4m zt3a ")])
        .await
        .expect(303);
    let cookie = reply.headers["set-cookie"].to_str().unwrap();
    assert!(
        cookie.contains("HttpOnly")
            && cookie.contains("Secure")
            && cookie.contains("SameSite=Strict")
    );
    bare.stranger()
        .with_cookie(cookie.split(';').next().unwrap())
}

/// The requests to root, oldest first.
fn requests(bare: &Bare) -> Vec<(PathBuf, Value)> {
    let mut found: Vec<(PathBuf, Value)> = std::fs::read_dir(&bare.config.requests_dir)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| !p.to_string_lossy().ends_with(".answer.json"))
        .map(|p| {
            let text = std::fs::read(&p).unwrap();
            (p, serde_json::from_slice(&text).unwrap())
        })
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

/// Answers the newest request as root would.
fn answer(bare: &Bare, state: &str, more: Value) -> Value {
    let (path, request) = requests(bare).pop().unwrap();
    let mut body = json!({"format": 1, "id": request["id"], "at": "2026-11-24T07:00:00Z", "state": state, "said": "as said"});
    for (key, value) in more.as_object().unwrap() {
        body[key] = value.clone();
    }
    std::fs::write(path.with_extension("answer.json"), body.to_string()).unwrap();
    request
}

#[tokio::test]
async fn before_there_is_a_practice_everything_leads_to_the_wizard() {
    let bare = fresh().await;
    let visitor = bare.stranger();
    for path in ["/", "/day", "/login", "/patients/1", "/admin", "/nowhere"] {
        assert_eq!(
            visitor.get(path).await.expect(303).location(),
            "/setup",
            "{path}"
        );
    }
    visitor.get("/api/v1/patients").await.expect(503);
    visitor.get("/healthz").await.expect(200);
    visitor.get("/trust").await.expect(200);
    let page = visitor.get("/setup").await.expect(200).text();
    assert!(page.contains("One-time code"));
    for step in [
        "practice",
        "admin",
        "certificate",
        "backup",
        "recovery",
        "finish",
    ] {
        let reply = visitor.get(&format!("/setup/{step}")).await.expect(303);
        assert_eq!(reply.location(), "/setup", "without the code: {step}");
    }
    std::fs::remove_file(bare.config.setup_dir.join("code.sha256")).unwrap();
    let page = visitor.get("/setup").await.expect(200).text();
    assert!(page.contains("hadadactl setup code"));
}

#[tokio::test]
async fn a_code_can_be_guessed_a_few_times_only() {
    let bare = fresh().await;
    let visitor = bare.stranger();
    let guess = async |code: &str| visitor.post_form("/setup", &[("code", code)]).await;
    for _ in 0..5 {
        guess("AAAA-AAAA-AAAA").await.expect(422);
    }
    guess(CODE).await.expect(429);
    bare.advance(Duration::minutes(1));
    guess(CODE).await.expect(303);
    // The count begins anew with a right one, and ends a code that is guessed on and on.
    let mut wrong = 0;
    while guess("AAAA-AAAA-AAAA").await.status == 422 {
        wrong += 1;
        bare.advance(Duration::minutes(16));
    }
    assert_eq!(wrong, 30);
    let void = guess(CODE).await.expect(429).text();
    assert!(void.contains("hadadactl setup code"));
    // Root makes another one.
    let other = "ZZZZ-9999-ZZZZ";
    std::fs::write(bare.config.setup_dir.join("code.sha256"), code_hash(other)).unwrap();
    guess(other).await.expect(303);
}

#[tokio::test]
async fn a_new_code_ends_what_the_old_one_opened_and_so_does_idleness() {
    let bare = fresh().await;
    let visitor = invited(&bare).await;
    visitor.get("/setup/practice").await.expect(200);
    bare.advance(Duration::hours(3));
    visitor.get("/setup/practice").await.expect(303);
    let visitor = invited(&bare).await;
    std::fs::write(
        bare.config.setup_dir.join("code.sha256"),
        code_hash("ZZZZ-9999-ZZZZ"),
    )
    .unwrap();
    visitor.get("/setup/practice").await.expect(303);
}

#[tokio::test]
async fn a_wrong_answer_is_said_beside_its_field_and_kept() {
    let bare = fresh().await;
    let visitor = invited(&bare).await;
    let page = visitor
        .post_form(
            "/setup/practice",
            &[
                ("name", ""),
                ("bhf_number", "12"),
                ("vat_number", "123"),
                ("email", "nobody"),
                ("address", "1 Main Road"),
            ],
        )
        .await
        .expect(422)
        .text();
    for words in [
        "id=\"e-name\"",
        "id=\"e-bhf_number\"",
        "id=\"e-vat_number\"",
        "id=\"e-email\"",
        "1 Main Road",
    ] {
        assert!(page.contains(words), "{words}");
    }
    assert_eq!(
        visitor.get("/setup/admin").await.expect(303).location(),
        "/setup/practice",
        "not before the one before"
    );
    visitor
        .post_form("/setup/practice", &[("name", "Rosebank Rehab")])
        .await
        .expect(303);
    for (password, again) in [
        ("short", "short"),
        ("Rosebank Rehab", "Rosebank Rehab"),
        ("correct horse battery", "correct horse"),
        ("", ""),
    ] {
        let fields = [
            ("display_name", "Anneke"),
            ("username", "anneke"),
            ("password", password),
            ("password_again", again),
        ];
        let page = visitor
            .post_form("/setup/admin", &fields)
            .await
            .expect(422)
            .text();
        assert!(page.contains("id=\"e-password"), "{password}");
    }
}

async fn until_backup(bare: &Bare) -> Client {
    let visitor = invited(bare).await;
    let next = visitor
        .post_form(
            "/setup/practice",
            &[("name", "Rosebank Rehab"), ("bhf_number", "0123456")],
        )
        .await
        .expect(303);
    assert_eq!(next.location(), "/setup/admin");
    let fields = [
        ("display_name", "Anneke Vermeulen"),
        ("username", "Anneke"),
        ("password", "ghoofkar reent sambreel"),
        ("password_again", "ghoofkar reent sambreel"),
        ("it_mail", "it@example.org"),
    ];
    let next = visitor.post_form("/setup/admin", &fields).await.expect(303);
    assert_eq!(next.location(), "/setup/certificate");
    visitor
        .post_form(
            "/setup/certificate",
            &[("source", "own"), ("hosts", "clinic.local 192.168.1.10")],
        )
        .await
        .expect(303);
    let page = visitor.get("/setup/certificate").await.expect(200).text();
    assert!(
        page.contains("hx-trigger=\"every 1s\""),
        "progress is asked for"
    );
    let request = answer(bare, "good", json!({}));
    assert_eq!(
        request["ask"],
        json!({"kind": "certificate", "source": "own", "hosts": ["clinic.local", "192.168.1.10"]})
    );
    let fragment = visitor
        .get("/setup/certificate/progress")
        .await
        .expect(200)
        .text();
    assert!(
        fragment.contains("Next</a>") && !fragment.contains("every 1s"),
        "{fragment}"
    );
    visitor
}

#[tokio::test]
async fn the_whole_wizard_opens_a_practice_and_is_gone() {
    let bare = fresh().await;
    let visitor = until_backup(&bare).await;

    // A place for backups that fails first.
    let share = [
        ("kind", "smb"),
        ("smb_server", "nas.local"),
        ("smb_share", "backup"),
        ("smb_folder", "hadada"),
        ("smb_user", "box"),
        ("smb_password", "s3cret-of-the-nas"),
    ];
    visitor.post_form("/setup/backup", &share).await.expect(303);
    answer(&bare, "working", json!({"percent": 40}));
    let page = visitor
        .get("/setup/backup/progress")
        .await
        .expect(200)
        .text();
    assert!(page.contains("value=\"40\""));
    answer(
        &bare,
        "bad",
        json!({"said": "nas.local refused the password.", "field": "smb_password", "do": "Check the password."}),
    );
    let page = visitor.get("/setup/backup").await.expect(200).text();
    assert!(page.contains("refused the password") && !page.contains("s3cret-of-the-nas"));
    visitor.get("/setup/recovery").await.expect(303);
    visitor
        .post_form(
            "/setup/backup",
            &[("kind", "disk"), ("disk", "sda"), ("disk_folder", "x")],
        )
        .await
        .expect(422);
    visitor
        .post_form(
            "/setup/backup",
            &[
                ("kind", "disk"),
                ("disk", "wd-1"),
                ("disk_folder", "hadada"),
            ],
        )
        .await
        .expect(303);
    let request = answer(&bare, "good", json!({}));
    assert_eq!(
        request["ask"]["target"],
        json!({"type": "disk", "disk": "wd-1", "folder": "hadada"})
    );
    visitor.get("/setup/backup/progress").await.expect(200);

    // Left and come back to, from another computer.
    let visitor = invited(&bare).await;
    assert_eq!(
        visitor.get("/setup").await.expect(303).location(),
        "/setup/recovery"
    );
    let shown = visitor.get("/setup/recovery").await.expect(200).text();
    assert!(shown.contains(">GGGG<"));
    visitor
        .post_form("/setup/recovery/written", &[])
        .await
        .expect(303);
    let asked = visitor.get("/setup/recovery").await.expect(200).text();
    assert!(!asked.contains("GGGG"), "not shown while it is asked for");
    let groups: Vec<&str> = KEY.split('-').collect();
    let asked: Vec<usize> = (1..=14)
        .filter(|n| asked.contains(&format!(">Group {n}<")))
        .collect();
    assert_eq!(asked.len(), 2);
    let page = visitor
        .post_form(
            "/setup/recovery",
            &[("first", "XXXX"), ("second", groups[asked[1] - 1])],
        )
        .await
        .expect(422)
        .text();
    assert!(page.contains("id=\"e-first\"") && !page.contains("id=\"e-second\""));
    visitor.post_form("/setup/finish", &[]).await.expect(303);
    assert!(
        requests(&bare)
            .iter()
            .all(|(_, r)| r["ask"]["kind"] != "finish"),
        "not before the key is confirmed"
    );
    visitor
        .post_form(
            "/setup/recovery",
            &[
                ("first", &groups[asked[0] - 1].to_lowercase()),
                ("second", groups[asked[1] - 1]),
            ],
        )
        .await
        .expect(303);
    let page = visitor.get("/setup/finish").await.expect(200).text();
    assert!(
        page.contains("Rosebank Rehab")
            && page.contains("Anneke Vermeulen")
            && !page.contains("no place for backups")
    );
    let opened = visitor.post_form("/setup/finish", &[]).await.expect(303);
    assert_eq!(opened.location(), "/login?ready=true");

    let (_, finish) = requests(&bare).pop().unwrap();
    assert_eq!(
        (
            &finish["ask"]["kind"],
            &finish["ask"]["backup"],
            &finish["ask"]["it_mail"]
        ),
        (&json!("finish"), &json!("set"), &json!("it@example.org"))
    );
    let stranger = bare.stranger();
    for path in ["/setup", "/setup/practice", "/setup/finish"] {
        visitor.get(path).await.expect(404);
        stranger.get(path).await.expect(404);
    }
    stranger
        .post_form("/setup", &[("code", CODE)])
        .await
        .expect(404);
    stranger.get("/login").await.expect(200);
    let signed_in = stranger
        .post_form(
            "/login",
            &[
                ("username", "anneke"),
                ("password", "ghoofkar reent sambreel"),
            ],
        )
        .await
        .expect(303);
    let cookie = signed_in.headers["set-cookie"]
        .to_str()
        .unwrap()
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    let admin = stranger.with_cookie(&cookie);
    admin.get("/day").await.expect(200);
    admin.get("/admin").await.expect(200);
    let patient = json!({"family_name": "Khumalo", "given_name": "Thandiwe", "birth_date": "1992-03-14", "sex": "female", "identity": {"kind": "none"}});
    let made = admin.post_json("/api/v1/patients", &patient).await;
    assert!(
        made.status.is_success(),
        "the practice can work: {}",
        made.text()
    );

    // What is left of the wizard holds no password.
    let mut db = connect_as("postgres", &bare.config.records_database).await;
    let left: String = sqlx::query_scalar("SELECT progress::text FROM setup_progress")
        .fetch_one(&mut db)
        .await
        .unwrap();
    assert!(
        !left.contains("argon2") && !left.contains("Anneke"),
        "{left}"
    );
    let audited: Vec<String> = sqlx::query_scalar(
        "SELECT action || ' ' || entity FROM audit_events WHERE actor = 'setup' ORDER BY id",
    )
    .fetch_all(&mut db)
    .await
    .unwrap();
    assert_eq!(audited, ["create Organization", "create User"]);
}

#[tokio::test]
async fn backups_left_for_later_are_said_and_sftp_keys_are_compared() {
    let bare = fresh().await;
    let visitor = until_backup(&bare).await;
    let place = [
        ("kind", "sftp"),
        ("sftp_server", "backup.local"),
        ("sftp_port", "22"),
        ("sftp_user", "hadada"),
        ("sftp_folder", "/srv/hadada"),
    ];
    visitor.post_form("/setup/backup", &place).await.expect(303);
    answer(
        &bare,
        "confirm",
        json!({"confirm": {"host_key": "SHA256:abc", "public_key": "ssh-ed25519 AAAA hadada"}}),
    );
    let page = visitor.get("/setup/backup").await.expect(200).text();
    assert!(page.contains("SHA256:abc") && page.contains("ssh-ed25519 AAAA"));
    visitor
        .post_form("/setup/backup/confirm", &[])
        .await
        .expect(303);
    let (_, request) = requests(&bare).pop().unwrap();
    assert_eq!(request["ask"]["target"]["host_key"], "SHA256:abc");
    let next = visitor
        .post_form("/setup/backup/skip", &[])
        .await
        .expect(303);
    assert_eq!(next.location(), "/setup/recovery");
    let page = visitor.get("/setup/backup").await.expect(200).text();
    assert!(page.contains("left this for later"));
}

#[tokio::test]
async fn a_silent_root_is_said() {
    let bare = fresh().await;
    let visitor = until_backup(&bare).await;
    visitor
        .post_form(
            "/setup/backup",
            &[
                ("kind", "nfs"),
                ("nfs_server", "nas"),
                ("nfs_export", "/backup"),
                ("nfs_folder", "h"),
            ],
        )
        .await
        .expect(303);
    let page = visitor
        .get("/setup/backup/progress")
        .await
        .expect(200)
        .text();
    assert!(!page.contains("does not answer"));
    bare.advance(Duration::minutes(1));
    let page = visitor
        .get("/setup/backup/progress")
        .await
        .expect(200)
        .text();
    assert!(
        page.contains("does not answer") && page.contains("every 1s"),
        "and it goes on asking"
    );
}

#[tokio::test]
async fn a_practice_that_was_there_before_needs_no_wizard() {
    let clinic = Clinic::start().await;
    clinic.stranger().get("/setup").await.expect(404);
    clinic.stranger().get("/login").await.expect(200);
}
