//! How well the shipped sorter puts note sentences into the sections that they stood in.

use crate::data::{Case, Label};
use crate::embeddings::Daemon;
use hadada::drafting::sort::{Item, Sorted, Sorter};

pub struct Figures {
    /// Share right of S, O, and A or P; with its denominator.
    pub accuracy_3: f64,
    pub sentences: usize,
    /// Mean F1 over the classes that occur, where one of the four is labelled.
    pub macro_f1_4: f64,
    pub labelled_4: usize,
    /// The same sentences one by one, without neighbours and place.
    pub alone_accuracy_3: f64,
    pub alone_macro_f1_4: f64,
}

pub fn evaluate(cases: &[Case], daemon: &Daemon) -> Result<Figures, Box<dyn std::error::Error>> {
    let (mut placed, mut alone) = (Vec::new(), Vec::new());
    for case in cases {
        let labelled: Vec<(&str, Label)> = case
            .sentences
            .iter()
            .filter_map(|(s, l)| l.map(|l| (s.as_str(), l)))
            .collect();
        let texts: Vec<&str> = labelled.iter().map(|(s, _)| *s).collect();
        let embeddings = daemon.embed(&texts)?;
        let items: Vec<Item<'_>> = texts
            .iter()
            .zip(&embeddings)
            .map(|(text, e)| Item {
                text,
                embedding: Some(e),
                heading: None,
            })
            .collect();
        let sorter = Sorter::shipped();
        placed.extend(
            sorter
                .sort(&items)
                .into_iter()
                .zip(labelled.iter().map(|l| l.1)),
        );
        alone.extend(
            items
                .iter()
                .flat_map(|i| sorter.sort(std::slice::from_ref(i)))
                .zip(labelled.iter().map(|l| l.1)),
        );
    }
    let (accuracy_3, macro_f1_4, labelled_4) = scores(&placed);
    let (alone_accuracy_3, alone_macro_f1_4, _) = scores(&alone);
    Ok(Figures {
        accuracy_3,
        macro_f1_4,
        labelled_4,
        sentences: placed.len(),
        alone_accuracy_3,
        alone_macro_f1_4,
    })
}

fn scores(found: &[(Sorted, Label)]) -> (f64, f64, usize) {
    let three = |l: Label| (l as usize).min(2);
    let right = found
        .iter()
        .filter(|(s, l)| {
            let p = s.probabilities;
            let sums = [p[0], p[1], p[2] + p[3]];
            (0..3).max_by(|a, b| sums[*a].total_cmp(&sums[*b])) == Some(three(*l))
        })
        .count();
    let four: Vec<(usize, usize)> = found
        .iter()
        .filter(|(_, l)| *l != Label::AorP)
        .map(|(s, l)| (s.section as usize, *l as usize))
        .collect();
    let f1: Vec<f64> = (0..4)
        .filter(|c| four.iter().any(|(_, l)| l == c))
        .map(|c| {
            let both = four.iter().filter(|(s, l)| *s == c && *l == c).count() as f64;
            2.0 * both
                / (four.iter().filter(|(s, _)| *s == c).count()
                    + four.iter().filter(|(_, l)| *l == c).count()) as f64
        })
        .collect();
    (
        right as f64 / found.len().max(1) as f64,
        f1.iter().sum::<f64>() / f1.len().max(1) as f64,
        four.len(),
    )
}
