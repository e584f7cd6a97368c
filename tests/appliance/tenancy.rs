//! One practice can't see, change or point at another's rows, whatever the program does: the database refuses.

use std::collections::BTreeSet;

use sqlx::{AssertSqlSafe, PgConnection, Row};

use crate::support::{Clinic, connect_as, sql_state, unscoped};

/// Tables that precede a practice: they hold ids and hashes only.
const PRECEDING: [&str; 7] = [
    "_sqlx_migrations",
    "logins",
    "sessions",
    "api_tokens",
    "audit_pending",
    "audit_seals",
    "audit_leaves",
];
/// The same for every practice and not about anybody; and what the box keeps about itself.
const REFERENCE: [&str; 7] = [
    "vat_rates",
    "setup_progress",
    "remote_access",
    "box_alerts",
    "box_samples",
    "outbox",
    "egress_ledger",
];

async fn tables(db: &mut PgConnection) -> Vec<String> {
    sqlx::query_scalar("SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') ORDER BY 1")
        .fetch_all(db)
        .await
        .unwrap()
}

async fn tenant_tables(db: &mut PgConnection) -> Vec<String> {
    tables(db)
        .await
        .into_iter()
        .filter(|t| !PRECEDING.contains(&t.as_str()) && !REFERENCE.contains(&t.as_str()))
        .collect()
}

#[tokio::test]
async fn every_tenant_table_has_a_forced_policy_and_composite_keys() {
    let clinic = Clinic::start().await;
    let mut db = clinic.superuser().await;
    let tenant = tenant_tables(&mut db).await;
    assert!(tenant.len() >= 20, "{tenant:?}");
    for table in &tenant {
        let row = sqlx::query(
            "SELECT relrowsecurity, relforcerowsecurity,
                    (SELECT count(*) FROM pg_policy WHERE polrelid = c.oid AND pg_get_expr(polqual, polrelid) = '(practice_id = current_practice())'
                        AND pg_get_expr(polwithcheck, polrelid) = '(practice_id = current_practice())' AND polcmd = '*') AS policies,
                    (SELECT count(*) FROM pg_policy WHERE polrelid = c.oid) AS all_policies
             FROM pg_class c WHERE oid = $1::regclass",
        )
        .bind(table)
        .fetch_one(&mut db)
        .await
        .unwrap();
        assert!(
            row.get::<bool, _>(0) && row.get::<bool, _>(1),
            "{table}: row-level security is not forced"
        );
        assert_eq!(
            (row.get::<i64, _>(2), row.get::<i64, _>(3)),
            (1, 1),
            "{table}: exactly the practice's policy"
        );
        let loose: Vec<String> = sqlx::query_scalar(
            "SELECT conname::text FROM pg_constraint WHERE conrelid = $1::regclass AND contype IN ('p', 'u', 'f')
             AND NOT conkey @> ARRAY[(SELECT attnum FROM pg_attribute WHERE attrelid = conrelid AND attname = 'practice_id')]",
        )
        .bind(table)
        .fetch_all(&mut db)
        .await
        .unwrap();
        assert_eq!(
            loose,
            Vec::<String>::new(),
            "{table}: keys and references without the practice"
        );
    }
}

#[tokio::test]
async fn the_web_role_owns_nothing_and_bypasses_nothing() {
    let clinic = Clinic::start().await;
    let mut db = clinic.superuser().await;
    let role = sqlx::query("SELECT rolsuper, rolbypassrls, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolname = 'hadada_app'").fetch_one(&mut db).await.unwrap();
    for column in 0..4 {
        assert!(!role.get::<bool, _>(column));
    }
    let owned: i64 =
        sqlx::query_scalar("SELECT count(*) FROM pg_class WHERE relowner = 'hadada_app'::regrole")
            .fetch_one(&mut db)
            .await
            .unwrap();
    assert_eq!(owned, 0);
    let open: Vec<String> = sqlx::query_scalar(
        "SELECT p.proname::text FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace AND p.prosecdef
         AND (has_function_privilege('public', p.oid, 'EXECUTE') OR NOT p.proconfig::text LIKE '%search_path=%')",
    )
    .fetch_all(&mut db)
    .await
    .unwrap();
    assert_eq!(
        open,
        Vec::<String>::new(),
        "definer functions open to everybody or without a fixed search path"
    );
}

#[tokio::test]
async fn the_role_matrix_in_the_readme_is_the_one_in_the_catalogue() {
    let clinic = Clinic::start().await;
    let mut db = clinic.superuser().await;
    let readme = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../migrations/README.md"
    ))
    .unwrap();
    let written: BTreeSet<String> = readme
        .lines()
        .filter(|l| l.starts_with("| `"))
        .map(|l| l.replace(' ', ""))
        .collect();
    let mut actual = BTreeSet::new();
    let mut keys = connect_as("postgres", &clinic.config.keys_database).await;
    let mut places: Vec<(bool, String)> = tables(&mut db)
        .await
        .into_iter()
        .map(|t| (false, t))
        .collect();
    places.extend(tables(&mut keys).await.into_iter().map(|t| (true, t)));
    for (in_keys, table) in places
        .into_iter()
        .filter(|(_, table)| table != "_sqlx_migrations")
    {
        let db = if in_keys { &mut keys } else { &mut db };
        let grants = |role: &'static str| {
            format!(
                "SELECT coalesce(string_agg(p, ' ' ORDER BY o), 'none') FROM unnest(ARRAY['select','insert','update','delete','truncate']) WITH ORDINALITY AS t(p, o)
                 WHERE has_table_privilege('{role}', '{table}', p)"
            )
        };
        let app: String = sqlx::query_scalar(AssertSqlSafe(grants("hadada_app")))
            .fetch_one(&mut *db)
            .await
            .unwrap();
        let backup: String = sqlx::query_scalar(AssertSqlSafe(grants("hadada_backup")))
            .fetch_one(&mut *db)
            .await
            .unwrap();
        let sender: String = sqlx::query_scalar(AssertSqlSafe(grants("hadada_sender")))
            .fetch_one(&mut *db)
            .await
            .unwrap();
        actual.insert(format!("| `{table}` | {app} | {backup} | {sender} |").replace(' ', ""));
    }
    let lines: Vec<String> = actual
        .iter()
        .map(|l: &String| l.replace('|', " | "))
        .collect();
    assert_eq!(
        written,
        actual,
        "migrations/README.md must list the tables and grants as they are:\n{}",
        lines.join("\n")
    );
}

#[tokio::test]
async fn without_a_practice_no_tenant_table_shows_a_row() {
    let clinic = Clinic::start().await;
    clinic.patient("Khumalo", "Thandiwe").await;
    let mut db = clinic.superuser().await;
    let pool = unscoped(&clinic).await;
    for table in tenant_tables(&mut db).await {
        let seen: i64 = sqlx::query_scalar(AssertSqlSafe(format!("SELECT count(*) FROM {table}")))
            .fetch_one(&pool)
            .await
            .unwrap();
        assert_eq!(seen, 0, "{table}");
    }
    let patients: i64 = sqlx::query_scalar("SELECT count(*) FROM patients")
        .fetch_one(&mut db)
        .await
        .unwrap();
    assert_eq!(patients, 1, "control: the superuser sees the row");
}

/// Puts the owner's own rows where another practice tries to read, change, insert and reference them.
#[tokio::test]
async fn another_practices_rows_can_be_neither_read_nor_written_nor_referenced() {
    let clinic = Clinic::start().await;
    let (ours, theirs) = (&clinic.practice, &clinic.elsewhere);
    let patient = clinic.patient("Khumalo", "Thandiwe").await;
    let mut db = clinic.superuser().await;

    for table in tenant_tables(&mut db).await {
        let mut tx = clinic.tx_in(theirs).await;
        let seen: i64 = sqlx::query_scalar(AssertSqlSafe(format!(
            "SELECT count(*) FROM {table} WHERE practice_id = $1"
        )))
        .bind(ours.id)
        .fetch_one(tx.conn())
        .await
        .unwrap();
        assert_eq!(seen, 0, "{table}: read");
        let may = |what: &'static str| {
            format!("SELECT has_table_privilege('hadada_app', '{table}', '{what}')")
        };
        if sqlx::query_scalar::<_, bool>(AssertSqlSafe(may("update")))
            .fetch_one(&mut db)
            .await
            .unwrap()
        {
            let changed = sqlx::query(AssertSqlSafe(format!(
                "UPDATE {table} SET practice_id = practice_id WHERE practice_id = $1"
            )))
            .bind(ours.id)
            .execute(tx.conn())
            .await
            .unwrap();
            assert_eq!(changed.rows_affected(), 0, "{table}: write");
        }
        if sqlx::query_scalar::<_, bool>(AssertSqlSafe(may("insert")))
            .fetch_one(&mut db)
            .await
            .unwrap()
        {
            let refused = sqlx::query(AssertSqlSafe(format!(
                "INSERT INTO {table} SELECT (jsonb_populate_record(null::{table}, jsonb_build_object('practice_id', $1))).*"
            )))
            .bind(ours.id)
            .execute(tx.conn())
            .await
            .unwrap_err();
            let code = sql_state(&refused);
            // 42501 is the policy's refusal; 23502 and 23514 are missing columns, P0002 a trigger's missing parent; they come before it on some tables.
            assert!(
                matches!(code.as_str(), "42501" | "23502" | "23514" | "P0002"),
                "{table}: insert gave {refused}"
            );
        }
    }

    let mut tx = clinic.tx_in(theirs).await;
    let refused = sqlx::query(
        "INSERT INTO alerts (practice_id, id, patient_id, text, recorded_by, recorded_at) VALUES ($1, gen_random_uuid(), $2, 'x', $3, now())",
    )
    .bind(theirs.id)
    .bind(patient)
    .bind(theirs.admin)
    .execute(tx.conn())
    .await
    .unwrap_err();
    assert_eq!(sql_state(&refused), "23503", "a reference across practices");
}

#[tokio::test]
async fn the_search_function_stays_in_its_practice() {
    let clinic = Clinic::start().await;
    clinic.patient("Khumalo", "Thandiwe").await;
    let search = "SELECT count(*) FROM search_patients('khumalo', ARRAY['khumalo'], '{}', '{}', NULL, NULL, 10)";
    let mut own = clinic.tx().await;
    assert_eq!(
        sqlx::query_scalar::<_, i64>(search)
            .fetch_one(own.conn())
            .await
            .unwrap(),
        1
    );
    let mut other = clinic.tx_in(&clinic.elsewhere).await;
    assert_eq!(
        sqlx::query_scalar::<_, i64>(search)
            .fetch_one(other.conn())
            .await
            .unwrap(),
        0
    );
    let nobody = unscoped(&clinic).await;
    assert_eq!(
        sqlx::query_scalar::<_, i64>(search)
            .fetch_one(&nobody)
            .await
            .unwrap(),
        0
    );
}

#[tokio::test]
async fn keys_are_bound_to_their_practice_too() {
    let clinic = Clinic::start().await;
    let patient = clinic.patient("Khumalo", "Thandiwe").await;
    clinic
        .app
        .keys
        .patient(clinic.practice.id, patient)
        .await
        .unwrap();
    assert!(
        clinic
            .app
            .keys
            .patient(clinic.elsewhere.id, patient)
            .await
            .is_err()
    );
    let mut db = connect_as("hadada_app", &clinic.config.keys_database).await;
    for table in ["practice_keys", "patient_keys"] {
        let seen: i64 = sqlx::query_scalar(AssertSqlSafe(format!("SELECT count(*) FROM {table}")))
            .fetch_one(&mut db)
            .await
            .unwrap();
        assert_eq!(seen, 0, "{table}");
    }
}

#[tokio::test]
async fn nothing_is_committed_without_an_audit_event() {
    let clinic = Clinic::start().await;
    let actor = hadada::db::Actor::system(clinic.practice.id, "test");
    let mut tx = hadada::db::PracticeTx::open(&clinic.app.db, &actor, clinic.app.clock.now())
        .await
        .unwrap();
    sqlx::query("UPDATE practices SET name = 'Changed'")
        .execute(tx.conn())
        .await
        .unwrap();
    assert!(tx.commit().await.is_err());
    let mut db = clinic.superuser().await;
    let names: Vec<String> = sqlx::query_scalar("SELECT name FROM practices ORDER BY name")
        .fetch_all(&mut db)
        .await
        .unwrap();
    assert_eq!(names, ["Elsewhere Physio", "Rosebank Rehab"]);
}
