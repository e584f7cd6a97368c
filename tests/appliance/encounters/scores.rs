//! Outcome measures: the trend, and scores that can't be.

use crate::support::{Open, key};

#[tokio::test]
async fn scores_make_the_trend_and_impossible_ones_are_refused() {
    let open = Open::start().await;
    let path = open.path("/scores");
    let add = |measure: &'static str, score: &'static str, day: &'static str, key: String| {
        let (naledi, path) = (open.naledi.clone(), path.clone());
        async move {
            naledi
                .post_form(
                    &path,
                    &[
                        ("measure", measure),
                        ("score", score),
                        ("taken_on", day),
                        ("idempotency_key", &key),
                    ],
                )
                .await
        }
    };
    let once = key();
    add("lefs", "18", "2026-10-15", once.clone())
        .await
        .expect(200);
    add("lefs", "18", "2026-10-15", once).await.expect(200);
    let trend = add("lefs", "48", "2026-11-24", key())
        .await
        .expect(200)
        .text();
    assert!(
        trend.contains("+30 since first visit")
            && trend.contains("<polyline")
            && trend.contains("at least the 9"),
        "{trend}"
    );
    assert_eq!(
        trend.matches("<circle").count(),
        2,
        "the form sent twice made one score"
    );
    for (measure, score, day, words) in [
        ("lefs", "81", "2026-11-24", "between 0 and 80"),
        ("lefs", "4.5", "2026-11-24", "whole number"),
        ("nprs", "much", "2026-11-24", "number from 0 to 10"),
        ("lefs", "40", "2026-11-25", "in the future"),
        ("dash", "40", "2026-11-24", "Choose one of the measures"),
    ] {
        let refused = add(measure, score, day, key()).await.expect(422).text();
        assert!(
            refused.contains(words) && refused.contains("data-dialog-form"),
            "{words}: {refused}"
        );
    }
    assert!(
        open.naledi
            .get(&open.path(""))
            .await
            .text()
            .contains("+30 since first visit")
    );
}
