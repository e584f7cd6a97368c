//! The chain of migrations runs over tables that hold rows, and leaves those rows as they were.

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use crate::support::connect_as;

fn files(folder: &str) -> Vec<(String, String)> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../migrations")
        .join(folder);
    let mut files: Vec<(String, String)> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            (
                path.file_stem().unwrap().to_string_lossy().into_owned(),
                std::fs::read_to_string(&path).unwrap(),
            )
        })
        .collect();
    files.sort();
    files
}

async fn rows(db: &mut PgConnection) -> Vec<(String, i64)> {
    let tables: Vec<String> =
        sqlx::query_scalar("SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' ORDER BY 1")
            .fetch_all(&mut *db)
            .await
            .unwrap();
    let mut counts = Vec::new();
    for table in tables {
        let n = sqlx::query_scalar(AssertSqlSafe(format!("SELECT count(*) FROM {table}")))
            .fetch_one(&mut *db)
            .await
            .unwrap();
        counts.push((table, n));
    }
    counts
}

#[tokio::test]
async fn every_migration_runs_over_tables_with_rows() {
    let name = format!("m_{}", uuid::Uuid::now_v7().simple());
    let mut admin = connect_as("postgres", "postgres").await;
    admin
        .execute(sqlx::raw_sql(AssertSqlSafe(format!(
            "CREATE DATABASE {name} OWNER hadada_owner"
        ))))
        .await
        .unwrap();
    let mut db = connect_as("hadada_owner", &name).await;
    let samples = files("samples");
    for (migration, sql) in files("records") {
        let before = rows(&mut db).await;
        db.execute(sqlx::raw_sql(AssertSqlSafe(sql)))
            .await
            .unwrap_or_else(|e| panic!("{migration}: {e}"));
        let after = rows(&mut db).await;
        for (table, count) in before {
            assert!(
                after.contains(&(table.clone(), count)),
                "{migration} changed the number of rows of {table}"
            );
        }
        let (_, sample) = samples
            .iter()
            .find(|(name, _)| *name == migration)
            .unwrap_or_else(|| panic!("migrations/samples/{migration}.sql is missing"));
        db.execute(sqlx::raw_sql(AssertSqlSafe(sample.clone())))
            .await
            .unwrap_or_else(|e| panic!("the sample of {migration}: {e}"));
        let empty: Vec<String> = rows(&mut db)
            .await
            .into_iter()
            .filter(|(_, n)| *n == 0)
            .map(|(table, _)| table)
            .collect();
        assert_eq!(
            empty,
            Vec::<String>::new(),
            "tables without a sample row after {migration}"
        );
    }
    db.close().await.unwrap();
    admin
        .execute(sqlx::raw_sql(AssertSqlSafe(format!(
            "DROP DATABASE {name}"
        ))))
        .await
        .unwrap();
}
