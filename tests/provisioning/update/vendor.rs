//! The vendor's side: bundles that come out the same anywhere, keys that no one person can use alone.

use std::fs;
use std::process::Command;

use serde_json::Value;

use super::bench::{PASSPHRASE, SECOND, Vendor, copy_folder, finish, release};

#[test]
fn a_bundle_built_from_two_folders_has_one_hash() {
    let vendor = Vendor::new();
    let wanted = super::bench::Release {
        migrations: vec![SECOND],
        ..release("0.2.0", 2)
    };
    let mut hashes = Vec::new();
    for (folder, mode) in [("here", 0o644), ("a/long/way/off", 0o700)] {
        let source = vendor.write(&wanted, folder);
        // Times and permissions of the folder it is built in don't matter.
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(source.join("bin/hadada"), fs::Permissions::from_mode(mode)).unwrap();
        let time = std::time::SystemTime::UNIX_EPOCH
            + std::time::Duration::from_secs(u64::from(mode) * 1_000_000);
        fs::File::open(source.join("bin/hadada"))
            .unwrap()
            .set_modified(time)
            .unwrap();
        let said = vendor
            .run(&[
                "release",
                "build",
                "--out",
                &format!("{folder}-out"),
                "--version",
                "0.2.0",
                "--counter",
                "2",
                "--bin",
                &format!("{folder}/bin"),
                "--source",
                folder,
            ])
            .good();
        hashes.push(said.lines().last().unwrap().to_owned());
        let left: Vec<_> = fs::read_dir(vendor.path(&format!("{folder}-out")))
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        assert_eq!(left, ["hadada-0.2.0.tar.zst"]);
    }
    assert_eq!(hashes[0], hashes[1]);
    assert_eq!(hashes[0].len(), 64);
    // Another release is another bundle.
    let other = vendor
        .run(&[
            "release",
            "build",
            "--out",
            "other",
            "--version",
            "0.2.0",
            "--counter",
            "3",
            "--bin",
            "here/bin",
            "--source",
            "here",
        ])
        .good();
    assert_ne!(other.lines().last().unwrap(), hashes[0]);
}

#[test]
fn a_release_lists_what_it_is_made_of() {
    let vendor = Vendor::new();
    // The real lock files: what is shipped is listed, our own packages are not.
    let source = vendor.write(&release("0.2.0", 2), "src");
    let repository = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    for name in ["Cargo.lock", "package-lock.json"] {
        fs::copy(format!("{repository}/{name}"), source.join(name)).unwrap();
    }
    vendor
        .run(&[
            "release",
            "build",
            "--out",
            "out",
            "--version",
            "0.2.0",
            "--counter",
            "2",
            "--bin",
            "src/bin",
            "--source",
            "src",
        ])
        .good();
    vendor
        .run(&[
            "update",
            "unpack",
            "out/hadada-0.2.0.tar.zst",
            "--out",
            "slot",
        ])
        .good();
    let read = |name: &str| fs::read(vendor.path("slot").join(name)).unwrap();
    let bill: Value = serde_json::from_slice(&read("sbom.cdx.json")).unwrap();
    assert_eq!(
        (&bill["bomFormat"], &bill["specVersion"]),
        (&Value::from("CycloneDX"), &Value::from("1.6"))
    );
    let components = bill["components"].as_array().unwrap();
    let find = |purl: &str| {
        components
            .iter()
            .find(|component| component["purl"].as_str().unwrap().starts_with(purl))
    };
    let rustls = find("pkg:cargo/rustls@0.23").unwrap();
    assert_eq!(
        (
            &rustls["hashes"][0]["alg"],
            rustls["hashes"][0]["content"].as_str().unwrap().len()
        ),
        (&Value::from("SHA-256"), 64)
    );
    let htmx = find("pkg:npm/htmx.org@4").unwrap();
    assert_eq!(htmx["hashes"][0]["content"].as_str().unwrap().len(), 128);
    assert_eq!(htmx["scope"], "required");
    assert_eq!(find("pkg:npm/esbuild@").unwrap()["scope"], "excluded");
    assert!(find("pkg:cargo/hadada").is_none());
    let manifest: Value = serde_json::from_slice(&read("manifest.json")).unwrap();
    assert_eq!(
        (
            &manifest["product"],
            &manifest["version"],
            &manifest["counter"],
            &manifest["schema"]["records"]
        ),
        (
            &Value::from("hadada"),
            &Value::from("0.2.0"),
            &Value::from(2),
            &Value::from(1)
        )
    );
    assert!(
        String::from_utf8(read("licences.txt"))
            .unwrap()
            .contains("rustls 0.23")
    );
    assert_eq!(read("VERSION"), b"0.2.0\n");
}

#[test]
fn a_key_opens_only_with_its_passphrase_and_signs_only_its_role() {
    let vendor = Vendor::new();
    let bundle = vendor.build(&release("0.2.0", 2));
    let sign = |key: &str, input: &str, more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hadadactl"));
        command
            .current_dir(vendor.path(""))
            .args(["release", "sign", "--repository", "repo", "--key", key])
            .args(more);
        finish(&mut command, input)
    };
    let bundle = ["--bundle", bundle.to_str().unwrap()];
    let wrong = sign("keys/targets-a.key", "open sesame, please\n", &bundle).error();
    assert!(wrong.contains("not the passphrase"), "{wrong}");
    assert!(
        sign("keys/targets-a.key", "", &bundle)
            .error()
            .contains("no passphrase")
    );
    // Nothing waits for a root key, and a stranger's key is nobody's.
    assert!(
        sign("keys/root-a.key", &format!("{PASSPHRASE}\n"), &[])
            .error()
            .contains("nothing waits")
    );
    vendor.new_key("targets", "stranger");
    assert!(
        sign(
            "keys/targets-stranger.key",
            &format!("{PASSPHRASE}\n"),
            &bundle
        )
        .error()
        .contains("no targets key of this root")
    );
    let short = finish(
        Command::new(env!("CARGO_BIN_EXE_hadadactl"))
            .current_dir(vendor.path(""))
            .args([
                "release", "keys", "new", "--role", "root", "--holder", "x", "--out", "keys",
            ]),
        "short\n",
    );
    assert!(short.error().contains("shorter than 12"));
    assert_eq!(crate::mode(&vendor.path("keys/root-a.key")), 0o600);
    let file = fs::read_to_string(vendor.path("keys/root-a.key")).unwrap();
    assert!(
        !file.contains(PASSPHRASE) && file.contains("\"sealed\""),
        "{file}"
    );
    // The passphrase may come by a file descriptor; it never is an argument.
    let by_fd = Command::new("bash")
        .current_dir(vendor.path(""))
        .args([
            "-c",
            &format!(
                "{} release sign --repository repo --key keys/targets-a.key --bundle {} --passphrase-fd 3 3<<<'{PASSPHRASE}'",
                env!("CARGO_BIN_EXE_hadadactl"),
                bundle[1]
            ),
        ])
        .output()
        .unwrap();
    assert!(by_fd.status.success(), "{by_fd:?}");
    let help = vendor.run(&["release", "sign", "--help"]).good();
    assert!(!help.contains("--passphrase <"), "{help}");
}

#[test]
fn two_people_sign_apart_and_their_signatures_are_merged() {
    let vendor = Vendor::new();
    let bundle = vendor.build(&release("0.2.0", 2));
    vendor.sign_bundle(&bundle).good();
    // The second person gets a copy of the folder and signs that.
    copy_folder(&vendor.repo(), &vendor.path("copy"));
    vendor
        .run(&[
            "release",
            "sign",
            "--repository",
            "copy",
            "--key",
            "keys/targets-b.key",
        ])
        .good();
    assert!(vendor.path("copy/metadata/1.targets.json").exists());
    // A third signs the first one's folder apart as well, from a draft before either.
    copy_folder(&vendor.repo(), &vendor.path("third"));
    let third = vendor.path("third/draft/targets.json");
    let mut draft: Value = serde_json::from_slice(&fs::read(&third).unwrap()).unwrap();
    draft["signatures"] = Value::Array(Vec::new());
    fs::write(&third, draft.to_string()).unwrap();
    vendor
        .run(&[
            "release",
            "sign",
            "--repository",
            "third",
            "--key",
            "keys/targets-c.key",
        ])
        .good();
    let merged = vendor
        .run(&["release", "merge", "--repository", "repo", "third"])
        .good();
    assert!(
        merged.contains("complete, metadata/1.targets.json"),
        "{merged}"
    );
    // What was changed in the copy is another draft.
    vendor
        .sign(
            "targets-a",
            &[
                "--bundle",
                vendor.build(&release("0.2.1", 3)).to_str().unwrap(),
            ],
        )
        .good();
    let refused = vendor
        .run(&["release", "merge", "--repository", "repo", "third"])
        .error();
    assert!(refused.contains("not the same"), "{refused}");
    // Nobody signs a bundle that is not what the draft says.
    let path = super::bench::bundle_in(&vendor.repo());
    fs::write(&path, b"something else").unwrap();
    assert!(
        vendor
            .sign("targets-b", &[])
            .error()
            .contains("is not the file that the draft names")
    );
}

#[test]
fn counters_only_grow_at_the_vendors_too() {
    let vendor = Vendor::new();
    vendor.publish(&release("0.2.0", 2));
    let again = vendor.build(&release("0.2.1", 2));
    let refused = vendor.sign_bundle(&again).error();
    assert!(refused.contains("counter 2 is not above 2"), "{refused}");
}
