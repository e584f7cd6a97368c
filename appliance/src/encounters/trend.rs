//! The trend chart of an outcome measure: where each mark goes, in the drawing's own units. The template draws it.

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use time::Date;

use super::measures::{Better, Measure, by_code};
use crate::clock;

const LEFT: f64 = 34.0;
const RIGHT: f64 = 282.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 130.0;
/// Most points that get a mark of their own; older ones stay in the table.
const MOST_POINTS: usize = 24;

/// One recorded score.
#[derive(Clone, Debug)]
pub(super) struct Score {
    pub(super) measure: String,
    pub(super) score: Decimal,
    pub(super) taken_on: Date,
}

/// A horizontal line of the grid.
#[derive(Debug, serde::Serialize)]
struct Grid {
    y: String,
    text_y: String,
    label: String,
}

/// A score's mark.
#[derive(Debug, serde::Serialize)]
struct Point {
    x: String,
    y: String,
    title: String,
    last: bool,
}

/// A text at a place.
#[derive(Debug, serde::Serialize)]
struct Label {
    x: String,
    y: String,
    anchor: &'static str,
    text: String,
}

/// The band within which a change says nothing.
#[derive(Debug, serde::Serialize)]
struct Band {
    y: String,
    height: String,
    text_y: String,
    text: String,
}

/// A row of the table beside the chart.
#[derive(Debug, serde::Serialize)]
struct Row {
    date: String,
    score: String,
    change: String,
}

/// The chart of one measure.
#[derive(Debug, serde::Serialize)]
pub(super) struct Trend {
    name: &'static str,
    about: &'static str,
    delta: Option<String>,
    title: String,
    description: String,
    source: Option<&'static str>,
    grid: Vec<Grid>,
    line: String,
    points: Vec<Point>,
    values: Vec<Label>,
    dates: Vec<Label>,
    band: Option<Band>,
    rows: Vec<Row>,
}

/// The newest score of a measure that has no room for a chart of its own.
#[derive(Debug, serde::Serialize)]
pub(super) struct Latest {
    name: &'static str,
    about: &'static str,
    value: String,
    unit: &'static str,
    first: Option<String>,
}

fn at(value: f64) -> String {
    format!("{value:.1}")
}

fn shown(value: Decimal) -> String {
    value.normalize().to_string()
}

fn signed(change: Decimal) -> String {
    match change {
        c if c > Decimal::ZERO => format!("+{}", shown(c)),
        c if c < Decimal::ZERO => format!("−{}", shown(-c)),
        _ => "0".into(),
    }
}

fn float(value: Decimal) -> f64 {
    value.to_f64().unwrap_or_default()
}

/// The measure with the most scores as a chart, the newest score of each other.
///
/// `scores` are ordered by date.
pub(super) fn trends(scores: &[Score]) -> (Option<Trend>, Vec<Latest>) {
    let mut groups: Vec<(&'static Measure, Vec<&Score>)> = Vec::new();
    for score in scores {
        let Some(measure) = by_code(&score.measure) else {
            continue;
        };
        match groups.iter_mut().find(|(m, _)| m.code == measure.code) {
            Some((_, list)) => list.push(score),
            None => groups.push((measure, vec![score])),
        }
    }
    // Between measures of as many scores, the one taken last.
    groups
        .sort_by_key(|(_, list)| std::cmp::Reverse((list.len(), list.last().map(|s| s.taken_on))));
    let mut groups = groups.into_iter();
    let chart = groups
        .next()
        .and_then(|(measure, list)| trend(measure, &list));
    let rest = groups
        .filter_map(|(measure, list)| {
            let (first, last) = (list.first()?, list.last()?);
            Some(Latest {
                name: measure.name,
                about: measure.about,
                value: shown(last.score),
                unit: measure.unit,
                first: (list.len() > 1).then(|| shown(first.score)),
            })
        })
        .collect();
    (chart, rest)
}

fn trend(measure: &'static Measure, scores: &[&Score]) -> Option<Trend> {
    let (first, last) = (*scores.first()?, *scores.last()?);
    let (least, most) = measure.axis(&scores.iter().map(|s| s.score).collect::<Vec<_>>());
    let (low, high) = (float(least), float(most));
    let y = |value: f64| BOTTOM - (value.clamp(low, high) - low) / (high - low) * (BOTTOM - TOP);
    let drawn = &scores[scores.len().saturating_sub(MOST_POINTS)..];
    let from = drawn.first()?.taken_on;
    let days = (last.taken_on - from).whole_days().max(1) as f64;
    let alone = from == last.taken_on;
    let x = |day: Date| {
        if alone {
            f64::midpoint(LEFT, RIGHT)
        } else {
            LEFT + 8.0 + (day - from).whole_days() as f64 / days * (RIGHT - LEFT - 16.0)
        }
    };

    let grid = (0..=4)
        .map(|i| {
            let value = least + (most - least) * Decimal::from(i) / Decimal::from(4);
            let place = y(float(value));
            Grid {
                y: at(place),
                text_y: at(place + 3.5),
                label: shown(value.round_dp(2)),
            }
        })
        .collect();
    let points: Vec<Point> = drawn
        .iter()
        .enumerate()
        .map(|(i, s)| Point {
            x: at(x(s.taken_on)),
            y: at(y(float(s.score))),
            title: format!(
                "{}: {}{}",
                clock::date_text(s.taken_on),
                shown(s.score),
                measure.unit
            ),
            last: i + 1 == drawn.len(),
        })
        .collect();
    let line = points
        .iter()
        .map(|p| format!("{},{}", p.x, p.y))
        .collect::<Vec<_>>()
        .join(" ");

    // The newest value above its mark, unless it touches the upper edge.
    let above = |place: f64, gap: f64| {
        if place - gap < TOP - 2.0 {
            place + gap + 6.0
        } else {
            place - gap
        }
    };
    let mut values = vec![Label {
        x: at(x(last.taken_on)),
        y: at(above(y(float(last.score)), 9.0)),
        anchor: if alone { "middle" } else { "end" },
        text: shown(last.score),
    }];
    let mut dates = vec![Label {
        x: at(x(last.taken_on)),
        y: "151".into(),
        anchor: if alone { "middle" } else { "end" },
        text: clock::short_date_text(last.taken_on),
    }];
    if !alone {
        let oldest = *drawn.first()?;
        values.push(Label {
            x: at(x(from) + 2.0),
            y: at(y(float(oldest.score)) + 15.0),
            anchor: "start",
            text: shown(oldest.score),
        });
        dates.push(Label {
            x: at(x(from) - 8.0),
            y: "151".into(),
            anchor: "start",
            text: clock::short_date_text(from),
        });
    }

    let detectable = measure.detectable(first.score);
    let band = detectable.map(|d| {
        // A shrinking balance or a growing pain is as real as progress, so the band goes both ways.
        let upper = y(float(first.score + d.change));
        let lower = y(float(first.score - d.change));
        Band {
            y: at(upper),
            height: at(lower - upper),
            text_y: at((upper + lower) / 2.0 + 3.5),
            text: format!("less than {}: no real change", shown(d.change)),
        }
    });
    let change = last.score - first.score;
    let mut rows = Vec::with_capacity(scores.len());
    for (i, s) in scores.iter().enumerate() {
        rows.push(Row {
            date: clock::date_text(s.taken_on),
            score: format!("{}{}", shown(s.score), measure.unit),
            change: if i == 0 {
                "First".into()
            } else {
                signed(s.score - scores[i - 1].score)
            },
        });
    }
    Some(Trend {
        name: measure.name,
        about: measure.about,
        delta: (scores.len() > 1).then(|| format!("{} since first visit", signed(change))),
        title: format!(
            "{}. {}, {} is better",
            measure.name,
            measure.about,
            if measure.better == Better::Higher {
                "higher"
            } else {
                "lower"
            }
        ),
        description: describe(measure, first, last, scores.len()),
        source: detectable.map(|d| d.source),
        grid,
        line,
        points,
        values,
        dates,
        band,
        rows,
    })
}

/// What the chart says, in words.
fn describe(measure: &Measure, first: &Score, last: &Score, count: usize) -> String {
    if count == 1 {
        return format!(
            "One score: {} on {}.",
            shown(last.score),
            clock::long_date_text(last.taken_on)
        );
    }
    let change = last.score - first.score;
    let way = if change > Decimal::ZERO {
        "Rose"
    } else if change < Decimal::ZERO {
        "Fell"
    } else {
        "Stayed"
    };
    let mut text = format!(
        "{way} from {} on {} to {} on {}.",
        shown(first.score),
        clock::long_date_text(first.taken_on),
        shown(last.score),
        clock::long_date_text(last.taken_on)
    );
    if let Some(d) = measure.detectable(first.score) {
        let size = change.abs();
        let better = (change > Decimal::ZERO) == (measure.better == Better::Higher);
        if size >= d.change {
            text.push_str(&format!(
                " The change of {} is at least the {} that count as a real change, for the {}.",
                shown(size),
                shown(d.change),
                if better { "better" } else { "worse" }
            ));
        } else {
            text.push_str(&format!(
                " The change of {} is less than the {} that count as a real change.",
                shown(size),
                shown(d.change)
            ));
        }
    }
    text
}

impl Trend {
    /// An example for template tests.
    pub(super) fn sample() -> (Option<Self>, Vec<Latest>) {
        let day =
            |n: u8| Date::from_calendar_date(2026, time::Month::October, n).unwrap_or(Date::MIN);
        let score = |measure: &str, score: i64, on: u8| Score {
            measure: measure.into(),
            score: Decimal::from(score),
            taken_on: day(on),
        };
        trends(&[
            score("lefs", 18, 15),
            score("lefs", 24, 22),
            score("nprs", 7, 15),
            score("nprs", 2, 29),
            score("lefs", 31, 29),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use time::macros::date;

    fn score(measure: &str, value: &str, taken_on: Date) -> Score {
        Score {
            measure: measure.into(),
            score: value.parse().unwrap(),
            taken_on,
        }
    }

    #[test]
    fn a_real_improvement_is_told_from_noise() {
        let (chart, _) = trends(&[
            score("lefs", "18", date!(2026 - 10 - 15)),
            score("lefs", "48", date!(2026 - 11 - 24)),
        ]);
        let chart = chart.unwrap();
        assert_eq!(chart.delta.as_deref(), Some("+30 since first visit"));
        assert!(
            chart
                .description
                .contains("at least the 9 that count as a real change, for the better"),
            "{}",
            chart.description
        );
        let (chart, _) = trends(&[
            score("nprs", "7", date!(2026 - 10 - 15)),
            score("nprs", "6", date!(2026 - 11 - 24)),
        ]);
        let chart = chart.unwrap();
        assert!(
            chart.description.contains("less than the 2"),
            "{}",
            chart.description
        );
        assert_eq!(chart.delta.as_deref(), Some("−1 since first visit"));
    }

    #[test]
    fn the_measure_taken_most_often_is_the_chart() {
        let (chart, rest) = trends(&[
            score("nprs", "7", date!(2026 - 10 - 15)),
            score("lefs", "18", date!(2026 - 10 - 15)),
            score("lefs", "24", date!(2026 - 10 - 22)),
            score("unknown", "1", date!(2026 - 10 - 22)),
        ]);
        assert_eq!(chart.unwrap().name, "LEFS");
        assert_eq!(
            rest.iter()
                .map(|l| (l.name, l.value.as_str(), l.first.as_deref()))
                .collect::<Vec<_>>(),
            [("NPRS", "7", None)]
        );
        assert!(trends(&[]).0.is_none());
    }

    proptest! {
        #[test]
        fn every_mark_lies_inside_the_drawing(values in proptest::collection::vec((0usize..14, 0u32..2000, 0i64..900), 1..60)) {
            let mut scores: Vec<Score> = values.iter().map(|&(m, v, d)| {
                let measure = &super::super::measures::MEASURES[m];
                let score = Decimal::from(v).clamp(measure.least, measure.most);
                Score { measure: measure.code.into(), score, taken_on: date!(2024 - 01 - 01) + time::Duration::days(d) }
            }).collect();
            scores.sort_by_key(|s| s.taken_on);
            let chart = trends(&scores).0.unwrap();
            for p in &chart.points {
                let (x, y): (f64, f64) = (p.x.parse().unwrap(), p.y.parse().unwrap());
                prop_assert!((LEFT..=RIGHT).contains(&x) && (TOP..=BOTTOM).contains(&y), "{p:?}");
            }
            prop_assert!(chart.points.iter().filter(|p| p.last).count() == 1);
            if let Some(band) = &chart.band {
                prop_assert!(band.height.parse::<f64>().unwrap() >= 0.0);
            }
        }
    }
}
