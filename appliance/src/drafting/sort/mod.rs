//! Puts each statement into S, O, A or P.
//!
//! A linear layer over the statement's MiniLM embedding, hashed word one- and two-grams, the mean embedding of the
//! statements around it and its place in the text. `bench/drafting/train.py` made the weights and does the same
//! sums; the labels it learned from are the sections of ACI-BENCH and MTS-Dialog notes, and rough lines of our own.
//! An explicit heading ("O:", "Plan") decides before the classifier does.

use serde::{Deserialize, Serialize};
use std::sync::LazyLock;

/// Length of a MiniLM embedding.
pub const EMBEDDING: usize = 384;
const PLACES: usize = 6;
/// Embedding, surroundings, places, bias: the order of the rows in the weights file.
const DENSE: usize = EMBEDDING + EMBEDDING + PLACES + 1;
/// Shorter texts have no usual order, so place and neighbours say nothing there.
const MIN_CONTEXT: usize = 8;
const NEIGHBOURS: f32 = 0.7;

/// A section of the note.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Section {
    /// Subjective: what the patient says.
    #[serde(rename = "S")]
    Subjective,
    /// Objective: what was found and measured.
    #[serde(rename = "O")]
    Objective,
    /// Assessment: what the clinician makes of it.
    #[serde(rename = "A")]
    Assessment,
    /// Plan: what will be done.
    #[serde(rename = "P")]
    Plan,
}

impl Section {
    /// In the order of a note.
    pub const ALL: [Section; 4] = [
        Section::Subjective,
        Section::Objective,
        Section::Assessment,
        Section::Plan,
    ];

    /// The letter used in the API.
    pub fn letter(self) -> char {
        ['S', 'O', 'A', 'P'][self as usize]
    }

    /// The full word.
    pub fn title(self) -> &'static str {
        ["Subjective", "Objective", "Assessment", "Plan"][self as usize]
    }

    /// The section that a heading names; none for one that names two or none.
    pub fn of_heading(heading: &str) -> Option<Section> {
        Some(match heading {
            "s" | "subjective" | "hx" | "history" | "hpi" | "medications" | "meds"
            | "allergies" | "social history" | "chief complaint" | "review of systems" => {
                Section::Subjective
            }
            "o" | "objective" | "exam" | "examination" | "o/e" | "findings" | "vitals"
            | "results" | "physical exam" => Section::Objective,
            "a" | "assessment" | "impression" | "analysis" => Section::Assessment,
            "p" | "plan" | "next" | "treatment" | "rx" | "tx" | "goals" | "follow up"
            | "follow-up" => Section::Plan,
            _ => return None,
        })
    }
}

/// What is sorted.
#[derive(Debug, Clone, Copy)]
pub struct Item<'a> {
    /// The statement's words.
    pub text: &'a str,
    /// Its MiniLM embedding (384 values, L2 norm 1). Without one (the model is down) the words alone decide.
    pub embedding: Option<&'a [f32]>,
    /// The heading it stands under, lower case.
    pub heading: Option<&'a str>,
}

/// Where a statement belongs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sorted {
    /// The likeliest section, or the heading's.
    pub section: Section,
    /// Of S, O, A, P; they add up to 1. A heading doesn't change them.
    pub probabilities: [f32; 4],
}

/// Why a weights file can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the sorter's weights are not in the expected form: {0}")]
pub struct WeightsError(&'static str);

/// The classifier's weights.
pub struct Sorter {
    dense: Vec<[f32; 4]>,
    scale: f32,
    grams: Vec<[i8; 4]>,
}

impl Sorter {
    /// The weights that ship with the product.
    #[expect(
        clippy::expect_used,
        reason = "the file is part of the binary and a test reads it"
    )]
    pub fn shipped() -> &'static Sorter {
        static SHIPPED: LazyLock<Sorter> = LazyLock::new(|| {
            Sorter::read(include_bytes!("weights.bin")).expect("weights.bin is well formed")
        });
        &SHIPPED
    }

    /// Reads the file that `train.py` writes: magic, rows, bins, dense rows (f32), scale (f32), n-gram rows (i8).
    ///
    /// # Errors
    /// [`WeightsError`] where a part is missing or of another size.
    pub fn read(bytes: &[u8]) -> Result<Sorter, WeightsError> {
        let rest = bytes
            .strip_prefix(b"HSORT1\0\0")
            .ok_or(WeightsError("magic"))?;
        let (head, rest) = rest.split_at_checked(8).ok_or(WeightsError("header"))?;
        let size = |b: &[u8]| u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize;
        let (rows, bins) = (size(&head[..4]), size(&head[4..]));
        if rows != DENSE || !bins.is_power_of_two() || bins > 1 << 20 {
            return Err(WeightsError("sizes"));
        }
        let (dense, rest) = rest
            .split_at_checked(rows * 16)
            .ok_or(WeightsError("dense rows"))?;
        let (scale, rest) = rest.split_at_checked(4).ok_or(WeightsError("scale"))?;
        if rest.len() != bins * 4 {
            return Err(WeightsError("n-gram rows"));
        }
        let float = |b: &[u8]| f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
        Ok(Sorter {
            dense: dense
                .chunks_exact(16)
                .map(|r| {
                    [
                        float(&r[0..4]),
                        float(&r[4..8]),
                        float(&r[8..12]),
                        float(&r[12..16]),
                    ]
                })
                .collect(),
            scale: float(scale),
            grams: rest
                .chunks_exact(4)
                .map(|r| [r[0] as i8, r[1] as i8, r[2] as i8, r[3] as i8])
                .collect(),
        })
    }

    /// Sorts the statements of one text, in its order.
    pub fn sort(&self, items: &[Item<'_>]) -> Vec<Sorted> {
        let usable = |i: usize| items[i].embedding.filter(|e| e.len() == EMBEDDING);
        let in_place = items.len() >= MIN_CONTEXT && (0..items.len()).all(|i| usable(i).is_some());
        (0..items.len())
            .map(|i| {
                let mut sum = self.dense[DENSE - 1];
                if let Some(embedding) = usable(i) {
                    add(&mut sum, embedding, &self.dense[..EMBEDDING], 1.0);
                }
                if in_place {
                    let near: Vec<usize> = [i.wrapping_sub(2), i.wrapping_sub(1), i + 1, i + 2]
                        .into_iter()
                        .filter(|k| *k < items.len())
                        .collect();
                    for k in &near {
                        if let Some(embedding) = usable(*k) {
                            add(
                                &mut sum,
                                embedding,
                                &self.dense[EMBEDDING..2 * EMBEDDING],
                                NEIGHBOURS / near.len() as f32,
                            );
                        }
                    }
                    let place = i as f32 / (items.len() - 1) as f32 * (PLACES - 1) as f32;
                    for b in 0..PLACES {
                        add(
                            &mut sum,
                            &[(1.0 - (place - b as f32).abs()).max(0.0)],
                            &self.dense[2 * EMBEDDING + b..],
                            1.0,
                        );
                    }
                }
                let grams = self.grams_of(items[i].text);
                let each = self.scale / (grams.len() as f32).sqrt();
                for gram in &grams {
                    for (total, weight) in sum.iter_mut().zip(self.grams[*gram]) {
                        *total += f32::from(weight) * each;
                    }
                }
                decide(softmax(sum), items[i].heading)
            })
            .collect()
    }

    fn grams_of(&self, text: &str) -> Vec<usize> {
        let words = words(text);
        let bin = |s: &str| {
            s.bytes().fold(0x811C_9DC5u32, |h, b| {
                (h ^ u32::from(b)).wrapping_mul(0x0100_0193)
            }) as usize
                & (self.grams.len() - 1)
        };
        let mut out: Vec<usize> = words[1..words.len() - 1]
            .iter()
            .map(|w| bin(w))
            .chain(words.windows(2).map(|w| bin(&format!("{} {}", w[0], w[1]))))
            .collect();
        out.sort_unstable();
        out.dedup();
        out
    }
}

/// Runs of letters, and "0" for each run of digits, between marks of beginning and end.
fn words(text: &str) -> Vec<String> {
    let mut out = vec!["^".to_owned()];
    let mut kind = 0;
    for c in text.to_lowercase().chars() {
        let now = if c.is_ascii_lowercase() {
            1
        } else if c.is_ascii_digit() {
            2
        } else {
            0
        };
        match (now, now == kind) {
            (1, true) => {
                if let Some(word) = out.last_mut() {
                    word.push(c);
                }
            }
            (1, false) => out.push(c.to_string()),
            (2, false) => out.push("0".to_owned()),
            _ => {}
        }
        kind = now;
    }
    out.push("$".to_owned());
    out
}

fn add(sum: &mut [f32; 4], values: &[f32], rows: &[[f32; 4]], times: f32) {
    for (value, row) in values.iter().zip(rows) {
        for c in 0..4 {
            sum[c] += value * row[c] * times;
        }
    }
}

fn softmax(sum: [f32; 4]) -> [f32; 4] {
    let top = sum.iter().copied().fold(f32::MIN, f32::max);
    let e = sum.map(|s| (s - top).exp());
    let total: f32 = e.iter().sum();
    e.map(|x| x / total)
}

fn decide(p: [f32; 4], heading: Option<&str>) -> Sorted {
    let likeliest = |from: usize| {
        (from..4)
            .max_by(|a, b| p[*a].total_cmp(&p[*b]))
            .unwrap_or(0)
    };
    let section = match heading {
        Some("assessment and plan") => Section::ALL[likeliest(2)],
        Some(h) => Section::of_heading(h).unwrap_or(Section::ALL[likeliest(0)]),
        None => Section::ALL[likeliest(0)],
    };
    Sorted {
        section,
        probabilities: p,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sections(lines: &[&str]) -> String {
        let items: Vec<Item<'_>> = lines
            .iter()
            .map(|text| Item {
                text,
                embedding: None,
                heading: None,
            })
            .collect();
        Sorter::shipped()
            .sort(&items)
            .iter()
            .map(|s| s.section.letter())
            .collect()
    }

    #[test]
    fn rough_lines_sort_sensibly_even_without_embeddings() {
        assert_eq!(
            sections(&[
                "pt reports knee pain going down stairs",
                "ROM 0-115, no quads lag",
                "next: 45 kg leg press",
                "ice 15 min after exercise"
            ]),
            "SOPP"
        );
    }

    #[test]
    fn a_heading_decides() {
        let items = [Item {
            text: "says it hurts",
            embedding: None,
            heading: Some("plan"),
        }];
        assert_eq!(Sorter::shipped().sort(&items)[0].section, Section::Plan);
    }

    #[test]
    fn probabilities_add_up_for_any_text() {
        for text in ["", "ṱhoho i a vhavha", "🙂", "a b c 1 2 3"] {
            let found = Sorter::shipped().sort(&[Item {
                text,
                embedding: None,
                heading: None,
            }]);
            assert!((found[0].probabilities.iter().sum::<f32>() - 1.0).abs() < 1e-4);
        }
    }

    #[test]
    fn a_damaged_file_is_refused() {
        assert!(Sorter::read(b"HSORT1\0\0").is_err());
        assert!(Sorter::read(&[0; 64]).is_err());
    }
}
