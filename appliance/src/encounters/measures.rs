//! Outcome measures: their range, which way is better, and the smallest change that is more than measurement error
//! (minimal detectable change, MDC), each with the publication it is from. Scores only: no item text of any questionnaire.

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

/// Every measure, in the order of the form.
pub const MEASURES: &[Measure] = &[
    Measure {
        most: dec!(10),
        detectable: by(
            dec!(2),
            "Childs and others, Spine 2005;30:1331–1334, low back pain",
        ),
        ..measure("nprs", "NPRS", "Pain, 0 to 10", "/10")
    },
    // Published values for the 100 mm line differ by 10 mm and more between studies, so no band is drawn.
    measure("vas", "VAS", "Pain on a 100 mm line", " mm"),
    Measure {
        most: dec!(10),
        decimals: 1,
        better: Better::Higher,
        detectable: by(
            dec!(2),
            "Stratford and others, Physiother Can 1995;47:258–263, mean of the activities",
        ),
        ..measure("psfs", "PSFS", "Own activities, mean of 0 to 10", "/10")
    },
    Measure {
        most: dec!(80),
        better: Better::Higher,
        detectable: by(
            dec!(9),
            "Binkley and others, Phys Ther 1999;79:371–383, lower limb conditions",
        ),
        ..measure("lefs", "LEFS", "Lower limb function, 0 to 80", "/80")
    },
    Measure {
        most: dec!(24),
        detectable: by(
            dec!(5),
            "Stratford and others, Phys Ther 1996;76:359–365, low back pain",
        ),
        ..measure("rmdq", "RMDQ", "Back pain disability, 0 to 24", "/24")
    },
    Measure {
        detectable: by(
            dec!(10.5),
            "Davidson and Keating, Phys Ther 2002;82:8–24, low back pain",
        ),
        decimals: 1,
        ..measure("odi", "ODI", "Back pain disability, percent", " %")
    },
    Measure {
        most: dec!(50),
        detectable: by(
            dec!(5),
            "MacDermid and others, JOSPT 2009;39:400–417, neck pain without radiculopathy",
        ),
        ..measure("ndi", "NDI", "Neck pain disability, 0 to 50", "/50")
    },
    Measure {
        decimals: 1,
        detectable: by(
            dec!(11.2),
            "Mintken and others, J Shoulder Elbow Surg 2009;18:920–926, shoulder pain",
        ),
        ..measure(
            "quickdash",
            "QuickDASH",
            "Arm, shoulder and hand disability, 0 to 100",
            "/100",
        )
    },
    Measure {
        least: dec!(1),
        most: dec!(600),
        decimals: 1,
        detectable: by(
            dec!(2.49),
            "Kennedy and others, BMC Musculoskelet Disord 2005;6:3, hip and knee osteoarthritis",
        ),
        ..measure("tug", "TUG", "Timed up and go, seconds", " s")
    },
    Measure {
        most: dec!(1500),
        better: Better::Higher,
        detectable: by(
            dec!(61.34),
            "Kennedy and others, BMC Musculoskelet Disord 2005;6:3, hip and knee osteoarthritis",
        ),
        ..measure("6mwt", "6MWT", "Six-minute walk, metres", " m")
    },
    Measure {
        most: dec!(5),
        decimals: 2,
        better: Better::Higher,
        detectable: by(
            dec!(0.18),
            "Steffen and Seney, Phys Ther 2008;88:733–746, comfortable speed, parkinsonism",
        ),
        ..measure("10mwt", "10MWT", "Ten-metre walk, metres a second", " m/s")
    },
    Measure {
        most: dec!(60),
        better: Better::Higher,
        detectable: by(
            dec!(1.64),
            "Gill and McBurney, Physiother Res Int 2008;13:141–152, before hip or knee replacement",
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
        // Published as 4.02 of 20 points; the 0 to 100 form is the same items times five.
        detectable: by(
            dec!(20.1),
            "Hsieh and others, Neurorehabil Neural Repair 2007;21:233–238, stroke",
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
    /// The smallest change from this first score that counts.
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
                "Donoghue and Stokes, J Rehabil Med 2009;41:343–346, older people",
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
            if let Some(d) = m.detectable(m.least) {
                assert!(
                    d.change > Decimal::ZERO && d.change < m.most - m.least,
                    "{}",
                    m.code
                );
                assert!(
                    d.source.contains("200") || d.source.contains("199"),
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
