//! The states of a booking, and which follows which.

use time::{Duration, OffsetDateTime};

use crate::clock;

/// How long a slip can be undone: the page offers it for 10 seconds, and a slow link gets some more.
pub const UNDO: Duration = Duration::seconds(30);

/// State of a booking.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// In the diary, not confirmed by the patient.
    Booked,
    /// Confirmed by the patient.
    Confirmed,
    /// In the waiting room.
    Arrived,
    /// With the practitioner.
    InSession,
    /// The visit is over.
    Completed,
    /// Called off; the time is free again.
    Cancelled,
    /// The patient did not arrive; the time is free again.
    NoShow,
}

/// Why a booking can't take a state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatusRefused {
    /// This state does not follow the present one.
    #[error("This booking is {}, so it can't become {} any more.", from.words(), to.words())]
    NotNext {
        /// The present state.
        from: Status,
        /// The wanted state.
        to: Status,
    },
    /// The day of the booking has not come.
    #[error("This booking is for {}. It can only be marked so on its day; move it to today first.", clock::date_text(clock::local(*starts_at).0))]
    NotYet {
        /// When the booking starts.
        starts_at: OffsetDateTime,
    },
    /// The booking has not begun, so nobody can have missed it.
    #[error("This booking starts at {}. Until then the patient may still come.", clock::time_text(clock::local(*starts_at).1))]
    NotMissed {
        /// When the booking starts.
        starts_at: OffsetDateTime,
    },
}

/// Where a booking stands.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    /// Its state.
    pub status: Status,
    /// Its state before, and since when it has the present one.
    pub before: Option<(Status, OffsetDateTime)>,
    /// When it starts.
    pub starts_at: OffsetDateTime,
}

impl Status {
    /// Every state.
    pub const ALL: [Self; 7] = [
        Self::Booked,
        Self::Confirmed,
        Self::Arrived,
        Self::InSession,
        Self::Completed,
        Self::Cancelled,
        Self::NoShow,
    ];

    /// As stored and as the API writes it.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Booked => "booked",
            Self::Confirmed => "confirmed",
            Self::Arrived => "arrived",
            Self::InSession => "in-session",
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
            Self::NoShow => "no-show",
        }
    }

    /// As stored, back.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.text() == text)
    }

    /// In the practice's words, as on a card.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Booked => "Not confirmed",
            Self::Confirmed => "Confirmed",
            Self::Arrived => "Arrived",
            Self::InSession => "In session",
            Self::Completed => "Done",
            Self::Cancelled => "Cancelled",
            Self::NoShow => "Did not arrive",
        }
    }

    /// Inside a sentence.
    fn words(self) -> &'static str {
        match self {
            Self::Booked => "not confirmed",
            Self::Confirmed => "confirmed",
            Self::Arrived => "marked as arrived",
            Self::InSession => "in session",
            Self::Completed => "done",
            Self::Cancelled => "cancelled",
            Self::NoShow => "marked as not arrived",
        }
    }

    /// Whether it takes up the time of those who take part.
    #[must_use]
    pub fn takes_time(self) -> bool {
        !matches!(self, Self::Cancelled | Self::NoShow)
    }

    /// Whether it can still be moved: nothing has begun or ended.
    #[must_use]
    pub fn is_movable(self) -> bool {
        matches!(self, Self::Booked | Self::Confirmed | Self::Arrived)
    }

    /// What may follow in the course of a day.
    #[must_use]
    pub fn next(self) -> &'static [Self] {
        match self {
            Self::Booked => &[
                Self::Confirmed,
                Self::Arrived,
                Self::InSession,
                Self::NoShow,
                Self::Cancelled,
            ],
            Self::Confirmed => &[
                Self::Booked,
                Self::Arrived,
                Self::InSession,
                Self::NoShow,
                Self::Cancelled,
            ],
            Self::Arrived => &[Self::InSession, Self::Confirmed, Self::Cancelled],
            Self::InSession => &[Self::Completed, Self::Arrived],
            Self::NoShow => &[Self::Arrived],
            Self::Completed | Self::Cancelled => &[],
        }
    }
}

/// Decides whether a booking may take a state now. The state it had until a moment ago it may always take back.
///
/// # Errors
/// [`StatusRefused`], as a sentence.
pub fn transition(
    standing: Standing,
    to: Status,
    now: OffsetDateTime,
) -> Result<(), StatusRefused> {
    let Standing {
        status: from,
        before,
        starts_at,
    } = standing;
    if before.is_some_and(|(status, since)| status == to && now - since <= UNDO) {
        return Ok(());
    }
    if !from.next().contains(&to) {
        return Err(StatusRefused::NotNext { from, to });
    }
    let day_came = clock::local(now).0 >= clock::local(starts_at).0;
    match to {
        Status::Arrived | Status::InSession | Status::Completed if !day_came => {
            Err(StatusRefused::NotYet { starts_at })
        }
        Status::NoShow if now < starts_at => Err(StatusRefused::NotMissed { starts_at }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    const START: OffsetDateTime = datetime!(2026-11-24 08:45 UTC);

    fn standing(status: Status) -> Standing {
        Standing {
            status,
            before: None,
            starts_at: START,
        }
    }

    #[test]
    fn an_ordinary_visit_goes_through() {
        let now = START - Duration::minutes(6);
        let way = [
            Status::Booked,
            Status::Confirmed,
            Status::Arrived,
            Status::InSession,
            Status::Completed,
        ];
        for pair in way.windows(2) {
            assert_eq!(
                transition(standing(pair[0]), pair[1], now),
                Ok(()),
                "{pair:?}"
            );
        }
    }

    #[test]
    fn what_is_over_stays_over() {
        let later = START + Duration::hours(3);
        for over in [Status::Completed, Status::Cancelled] {
            for to in Status::ALL {
                assert!(
                    transition(standing(over), to, later).is_err(),
                    "{over:?} to {to:?}"
                );
            }
        }
    }

    #[test]
    fn nobody_arrives_on_another_day_or_misses_what_has_not_begun() {
        let eve = START - Duration::days(1);
        assert_eq!(
            transition(standing(Status::Booked), Status::Arrived, eve),
            Err(StatusRefused::NotYet { starts_at: START })
        );
        assert_eq!(
            transition(standing(Status::Booked), Status::InSession, eve),
            Err(StatusRefused::NotYet { starts_at: START })
        );
        let early = START - Duration::minutes(1);
        assert_eq!(
            transition(standing(Status::Booked), Status::NoShow, early),
            Err(StatusRefused::NotMissed { starts_at: START })
        );
        assert_eq!(
            transition(standing(Status::Booked), Status::NoShow, START),
            Ok(())
        );
        assert_eq!(
            transition(standing(Status::Booked), Status::Cancelled, eve),
            Ok(())
        );
    }

    #[test]
    fn a_slip_can_be_undone_for_a_moment_only() {
        for from in Status::ALL {
            for to in Status::ALL {
                let slip = Standing {
                    status: from,
                    before: Some((to, START)),
                    starts_at: START,
                };
                assert_eq!(
                    transition(slip, to, START + UNDO),
                    Ok(()),
                    "{from:?} back to {to:?}"
                );
                let late = transition(slip, to, START + UNDO + Duration::seconds(1));
                assert_eq!(
                    late.is_ok(),
                    from.next().contains(&to),
                    "{from:?} to {to:?}"
                );
            }
        }
    }
}
