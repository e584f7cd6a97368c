//! Outcome measures: their range, which way is better, and the smallest change that is more than measurement error
//! (minimal detectable change, MDC), each with the publication whose abstract gives the number. Where no abstract that could be
//! read gives one, there is none, and the chart has no band. Scores only: no item text of any questionnaire.

use rust_decimal::Decimal;
use rust_decimal::dec;

/// Which way a patient gets better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// A higher score.
    Higher,
    /// A lower score.
    Lower,
}

/// The smallest change that counts, and who measured it in whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Detectable {
    /// In the measure's unit, at the confidence the source gives.
    pub change: Decimal,
    /// Publication and population.
    pub source: &'static str,
}

/// A measure whose scores the record takes.
#[derive(Clone, Copy, Debug)]
pub struct Measure {
    /// As stored.
    pub code: &'static str,
    /// As clinicians call it.
    pub name: &'static str,
    /// What it measures, with its unit.
    pub about: &'static str,
    /// After a number: ` s`, ` m`, `/80`.
    pub unit: &'static str,
    /// Lowest possible score.
    pub least: Decimal,
    /// Highest possible score; for times and distances the highest believable one.
    pub most: Decimal,
    /// Digits after the point.
    pub decimals: u32,
    /// Which way is better.
    pub better: Better,
    detectable: Option<Detectable>,
}

const fn measure(
    code: &'static str,
    name: &'static str,
    about: &'static str,
    unit: &'static str,
) -> Measure {
    Measure {
        code,
        name,
        about,
        unit,
        least: Decimal::ZERO,
        most: Decimal::ONE_HUNDRED,
        decimals: 0,
        better: Better::Lower,
        detectable: None,
    }
}

const fn by(change: Decimal, source: &'static str) -> Option<Detectable> {
    Some(Detectable { change, source })
}

const STEFFEN_AND_SENEY: &str = "Steffen and Seney 2008, Test-Retest Reliability and Minimal Detectable Change on Balance and Ambulation Tests, the 36-Item Short-Form Health Survey, and the Unified Parkinson Disease Rating Scale in People With Parkinsonism, Phys Ther 88(6):733–746, 95 % confidence";

/// Every measure, in the order of the form.
pub const MEASURES: &[Measure] = &[
    Measure {
        most: dec!(10),
        detectable: by(
            dec!(2),
            "Childs and others 2005, Responsiveness of the Numeric Pain Rating Scale in Patients With Low Back Pain, Spine 30(11):1331–1334",
        ),
        ..measure("nprs", "NPRS", "Pain, 0 to 10", "/10")
    },
    // Published values for the 100 mm line differ by 10 mm and more between studies, so no band is drawn.
    measure("vas", "VAS", "Pain on a 100 mm line", " mm"),
    Measure {
        most: dec!(10),
        decimals: 1,
        better: Better::Higher,
        ..measure("psfs", "PSFS", "Own activities, mean of 0 to 10", "/10")
    },
    Measure {
        most: dec!(80),
        better: Better::Higher,
        detectable: by(
            dec!(9),
            "Binkley, Stratford, Lott and Riddle 1999, The Lower Extremity Functional Scale (LEFS): Scale Development, Measurement Properties, and Clinical Application, Phys Ther 79(4):371–383, 90 % confidence",
        ),
        ..measure("lefs", "LEFS", "Lower limb function, 0 to 80", "/80")
    },
    Measure {
        most: dec!(24),
        ..measure("rmdq", "RMDQ", "Back pain disability, 0 to 24", "/24")
    },
    Measure {
        decimals: 1,
        ..measure("odi", "ODI", "Back pain disability, percent", " %")
    },
    Measure {
        most: dec!(50),
        ..measure("ndi", "NDI", "Neck pain disability, 0 to 50", "/50")
    },
    Measure {
        decimals: 1,
        detectable: by(
            dec!(17.1),
            "Determination and comparison of the smallest detectable change (SDC) and the minimal important change (MIC) of four-shoulder patient-reported outcome measures (PROMs), J Orthop Surg Res 2013;8:40, shoulder problems",
        ),
        ..measure(
            "quickdash",
            "QuickDASH",
            "Arm, shoulder and hand disability, 0 to 100",
            "/100",
        )
    },
    // Published values run from 1,1 s to over a third of the time, by population, so no band is drawn.
    Measure {
        least: dec!(1),
        most: dec!(600),
        decimals: 1,
        ..measure("tug", "TUG", "Timed up and go, seconds", " s")
    },
    Measure {
        most: dec!(1500),
        better: Better::Higher,
        detectable: by(dec!(82), STEFFEN_AND_SENEY),
        ..measure("6mwt", "6MWT", "Six-minute walk, metres", " m")
    },
    Measure {
        most: dec!(5),
        decimals: 2,
        better: Better::Higher,
        detectable: by(dec!(0.18), STEFFEN_AND_SENEY),
        ..measure("10mwt", "10MWT", "Ten-metre walk, metres a second", " m/s")
    },
    Measure {
        most: dec!(60),
        better: Better::Higher,
        detectable: by(
            dec!(1.64),
            "Gill and McBurney 2008, Reliability of performance-based measures in people awaiting joint replacement surgery of the hip or knee, Physiother Res Int 13(3):141–152, 90 % confidence",
        ),
        ..measure(
            "30scst",
            "30 s chair stand",
            "Stands in 30 seconds",
            " stands",
        )
    },
    Measure {
        most: dec!(56),
        better: Better::Higher,
        ..measure("berg", "Berg", "Balance, 0 to 56", "/56")
    },
    Measure {
        better: Better::Higher,
        // Published is the standard error of measurement, 1.45 of 20 points. A change must pass 1.96 · √2 of them, 4.02; the 0 to
        // 100 form is the same items times five.
        detectable: by(
            dec!(20.1),
            "Hsieh and others 2007, Establishing the minimal clinically important difference of the Barthel Index in stroke patients, Neurorehabil Neural Repair 21(3):233–238, from its standard error, 95 % confidence",
        ),
        ..measure("barthel", "Barthel", "Daily living, 0 to 100", "/100")
    },
];

/// A measure by its code.
#[must_use]
pub fn by_code(code: &str) -> Option<&'static Measure> {
    MEASURES.iter().find(|m| m.code == code)
}

impl Measure {
    /// The smallest change from this first score that counts; none where none is published for it.
    #[must_use]
    pub fn detectable(&self, first: Decimal) -> Option<Detectable> {
        if self.code == "berg" {
            // Depends on where one starts.
            let change = if first >= dec!(45) {
                dec!(4)
            } else if first >= dec!(35) {
                dec!(5)
            } else if first >= dec!(25) {
                dec!(7)
            } else {
                dec!(5)
            };
            return by(
                change,
                "Donoghue and Stokes 2009, How much change is true change? The minimum detectable change of the Berg Balance Scale in elderly people, J Rehabil Med 41(5):343–346, 95 % confidence",
            );
        }
        // Found for scores in the middle only: outside, the error is larger than the room that is left.
        if self.code == "rmdq" && (dec!(4)..=dec!(20)).contains(&first) {
            return by(
                dec!(5),
                "Stratford and others 1996, Defining the minimum level of detectable change for the Roland-Morris questionnaire, Phys Ther 76(4):359–365, 4 to 5 points at 90 % confidence",
            );
        }
        self.detectable
    }

    /// Reads a typed score, with point or comma.
    ///
    /// # Errors
    /// A sentence with the rule that it breaks.
    pub fn score(&self, typed: &str) -> Result<Decimal, String> {
        let typed = typed.trim().replace(',', ".");
        let score: Decimal = typed.parse().map_err(|_| {
            format!(
                "The {} score is a number from {} to {}.",
                self.name, self.least, self.most
            )
        })?;
        if score < self.least || score > self.most {
            return Err(format!(
                "A {} score lies between {} and {}; {score} does not.",
                self.name, self.least, self.most
            ));
        }
        if score.normalize().scale() > self.decimals {
            return Err(match self.decimals {
                0 => format!("A {} score is a whole number.", self.name),
                1 => format!(
                    "A {} score has at most one digit after the point.",
                    self.name
                ),
                n => format!(
                    "A {} score has at most {n} digits after the point.",
                    self.name
                ),
            });
        }
        Ok(score.normalize())
    }

    /// The least and most that the chart shows: the whole scale, or for times and distances a round range around the scores.
    #[must_use]
    pub(super) fn axis(&self, scores: &[Decimal]) -> (Decimal, Decimal) {
        if self.unit.starts_with('/') || self.most == Decimal::ONE_HUNDRED {
            return (self.least, self.most);
        }
        let top = scores.iter().copied().max().unwrap_or(self.most);
        let room = scores
            .first()
            .and_then(|&s| self.detectable(s))
            .map_or(Decimal::ZERO, |d| d.change);
        let top = (top + room).min(self.most).max(dec!(0.1));
        let steps = [
            dec!(1),
            dec!(2),
            dec!(5),
            dec!(10),
            dec!(20),
            dec!(50),
            dec!(100),
            dec!(200),
            dec!(400),
            dec!(600),
            dec!(800),
            dec!(1000),
            dec!(1500),
        ];
        (
            Decimal::ZERO,
            steps.into_iter().find(|&s| s >= top).unwrap_or(self.most),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_ranges_hold_their_bands() {
        for (i, m) in MEASURES.iter().enumerate() {
            assert!(m.least < m.most, "{}", m.code);
            assert!(
                MEASURES[i + 1..].iter().all(|o| o.code != m.code),
                "{}",
                m.code
            );
            let middle = (m.least + m.most) / dec!(2);
            if let Some(d) = m.detectable(middle) {
                assert!(
                    d.change > Decimal::ZERO && d.change < m.most - m.least,
                    "{}",
                    m.code
                );
                assert!(
                    ["199", "200", "201"].iter().any(|y| d.source.contains(y)),
                    "{} names a year",
                    m.code
                );
            }
        }
    }

    #[test]
    fn a_score_outside_the_scale_is_refused_with_the_rule() {
        let lefs = by_code("lefs").unwrap();
        assert_eq!(lefs.score(" 48 "), Ok(dec!(48)));
        for bad in ["81", "-1", "48.5", "", "many", "NaN", "1e9"] {
            let why = lefs.score(bad).unwrap_err();
            assert!(why.contains("LEFS"), "{bad}: {why}");
        }
        assert_eq!(by_code("tug").unwrap().score("12,4"), Ok(dec!(12.4)));
        assert!(by_code("dash").is_none());
    }

    #[test]
    fn a_back_score_near_the_ends_has_no_band() {
        let rmdq = by_code("rmdq").unwrap();
        let change = |first| rmdq.detectable(first).map(|d| d.change);
        assert_eq!(
            [dec!(3), dec!(4), dec!(20), dec!(21)].map(change),
            [None, Some(dec!(5)), Some(dec!(5)), None]
        );
    }

    #[test]
    fn a_balance_score_needs_a_larger_change_in_the_middle() {
        let berg = by_code("berg").unwrap();
        let change = |first| berg.detectable(first).unwrap().change;
        assert_eq!(
            [
                change(dec!(50)),
                change(dec!(36)),
                change(dec!(30)),
                change(dec!(10))
            ],
            [dec!(4), dec!(5), dec!(7), dec!(5)]
        );
    }
}
