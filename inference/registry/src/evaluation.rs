//! How a model did on this box.

use serde::{Deserialize, Serialize};

/// One measure and its bound.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// What was measured, for people.
    pub name: String,
    /// How much of it.
    pub value: f64,
    /// What it must at least be …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<f64>,
    /// … or at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<f64>,
    /// Cases it was measured on.
    pub cases: u64,
}

impl Figure {
    /// Whether it is within its bounds. Nothing measured is not enough.
    pub fn passes(&self) -> bool {
        self.cases > 0
            && self.value.is_finite()
            && self.at_least.is_none_or(|least| self.value >= least)
            && self.at_most.is_none_or(|most| self.value <= most)
    }
}

/// The result of `hadadactl model evaluate`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// SHA-256 of the manifest of the model as it was.
    pub model: String,
    /// When, RFC 3339.
    pub at: String,
    /// The device it ran on.
    pub device: String,
    /// The version of the questions asked of it.
    pub prompt_version: String,
    /// The measures.
    pub figures: Vec<Figure>,
    /// Whether all are within their bounds.
    pub passed: bool,
}

impl Evaluation {
    /// The measures that are out of their bounds, for people.
    pub fn failures(&self) -> Vec<String> {
        self.figures
            .iter()
            .filter(|f| !f.passes())
            .map(|f| {
                let bound = match (f.at_least, f.at_most) {
                    (Some(least), _) => format!("at least {least}"),
                    (None, Some(most)) => format!("at most {most}"),
                    (None, None) => "some".to_owned(),
                };
                format!("{}: {:.3}, needed {bound}", f.name, f.value)
            })
            .collect()
    }
}
