//! The waiting list: who would come if a time came free, and which open time fits whom.

use time::{OffsetDateTime, Time, Weekday};

use super::slots::{Stretch, minute};
use crate::clock;
use crate::ids::{PatientId, PractitionerId, SessionTypeId, WaitingId};
use crate::practices::{Discipline, Practitioner, SessionType};

/// Somebody who waits for a time.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// Which entry.
    pub id: WaitingId,
    /// Who waits.
    pub patient_id: PatientId,
    /// Family name.
    pub family_name: String,
    /// Given name.
    pub given_name: String,
    /// What for.
    pub reason: String,
    /// How long it takes.
    pub minutes: u16,
    /// With whom only, if so.
    pub practitioner_id: Option<PractitionerId>,
    /// As which kind of session, if said.
    pub session_type_id: Option<SessionTypeId>,
    /// With anyone of this discipline, if so.
    pub discipline: Option<Discipline>,
    /// Not to start before this time of the day.
    pub not_before: Option<Time>,
    /// To be over by this time of the day.
    pub not_after: Option<Time>,
    /// On these weekdays only (1 is Monday); any when empty.
    pub weekdays: Vec<i16>,
    /// Since when.
    pub created_at: OffsetDateTime,
}

const DAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];

impl Waiting {
    /// The first start in an open stretch with this practitioner that fits, where they give a kind of session for it.
    #[must_use]
    pub fn fits(
        &self,
        practitioner: &Practitioner,
        types: &[SessionType],
        weekday: Weekday,
        open: Stretch,
    ) -> Option<u16> {
        let day = i16::from(weekday.number_from_monday());
        let wanted = self.session_type(practitioner, types).is_some()
            && self.practitioner_id.is_none_or(|id| id == practitioner.id)
            && self.discipline.is_none_or(|d| d == practitioner.discipline)
            && (self.weekdays.is_empty() || self.weekdays.contains(&day));
        let start = open
            .from
            .max(self.not_before.map_or(0, minute))
            .next_multiple_of(5);
        let end = open.to.min(self.not_after.map_or(u16::MAX, minute));
        (wanted && u32::from(start) + u32::from(self.minutes) <= u32::from(end)).then_some(start)
    }

    /// When and with whom, in words: `Thursday or Friday, after 14:00, Pieter only`.
    #[must_use]
    pub fn wish(&self, practitioners: &[Practitioner]) -> String {
        let mut parts = Vec::new();
        let days: Vec<_> = self
            .weekdays
            .iter()
            .filter_map(|d| {
                usize::try_from(d - 1)
                    .ok()
                    .and_then(|i| DAYS.get(i))
                    .copied()
            })
            .collect();
        match days.as_slice() {
            [] => {}
            ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday"] => {
                parts.push("Weekdays".to_owned())
            }
            [one] => parts.push((*one).to_owned()),
            [most @ .., last] => parts.push(format!("{} or {last}", most.join(", "))),
        }
        match (
            self.not_before.map(clock::time_text),
            self.not_after.map(clock::time_text),
        ) {
            (Some(from), Some(to)) => parts.push(format!("{from} to {to}")),
            (Some(from), None) => parts.push(format!("after {from}")),
            (None, Some(to)) => parts.push(format!("before {to}")),
            (None, None) => {}
        }
        let person = self
            .practitioner_id
            .and_then(|id| practitioners.iter().find(|p| p.id == id));
        match (person, self.discipline) {
            (Some(person), _) => parts.push(format!("{} only", person.given_name)),
            (None, Some(discipline)) => {
                parts.push(format!("any {}", discipline.person().to_lowercase()))
            }
            (None, None) => {}
        }
        if parts.is_empty() {
            return "Any time".into();
        }
        let mut text = parts.join(", ");
        if let Some(first) = text.get(..1).map(str::to_uppercase) {
            text.replace_range(..1, &first);
        }
        text
    }

    /// The kind of session to book: the one asked for, or else one that this practitioner gives, as near in length as can be.
    #[must_use]
    pub fn session_type<'a>(
        &self,
        practitioner: &Practitioner,
        types: &'a [SessionType],
    ) -> Option<&'a SessionType> {
        if let Some(wanted) = self.session_type_id {
            return types.iter().find(|t| t.id == wanted);
        }
        types
            .iter()
            .filter(|t| {
                t.capacity == 1 && t.discipline.is_none_or(|d| d == practitioner.discipline)
            })
            .min_by_key(|t| (t.duration_minutes - i32::from(self.minutes)).abs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::{datetime, time};

    fn pieter() -> Practitioner {
        Practitioner {
            id: PractitionerId::random(),
            title: String::new(),
            given_name: "Pieter".into(),
            family_name: "van Zyl".into(),
            discipline: Discipline::Physiotherapy,
            hpcsa_number: String::new(),
            bhf_number: String::new(),
            active: true,
            room: None,
        }
    }

    fn waiting() -> Waiting {
        Waiting {
            id: WaitingId::random(),
            patient_id: PatientId::random(),
            family_name: "Maseko".into(),
            given_name: "Lindiwe".into(),
            reason: "Knee".into(),
            minutes: 45,
            practitioner_id: None,
            session_type_id: None,
            discipline: None,
            not_before: None,
            not_after: None,
            weekdays: Vec::new(),
            created_at: datetime!(2026-11-20 08:00 UTC),
        }
    }

    #[test]
    fn a_wish_is_kept() {
        let pieter = pieter();
        let types = [SessionType {
            id: SessionTypeId::random(),
            code: "physio-45".into(),
            name: "Physiotherapy session".into(),
            discipline: Some(Discipline::Physiotherapy),
            duration_minutes: 45,
            price: crate::money::Rand::ZERO,
            tariff_code: String::new(),
            capacity: 1,
        }];
        let open = Stretch {
            from: 13 * 60,
            to: 15 * 60,
        };
        let day = Weekday::Tuesday;
        assert_eq!(waiting().fits(&pieter, &types, day, open), Some(13 * 60));
        let after = Waiting {
            not_before: Some(time!(14:00)),
            ..waiting()
        };
        assert_eq!(after.fits(&pieter, &types, day, open), Some(14 * 60));
        assert_eq!(
            Waiting {
                minutes: 65,
                ..after
            }
            .fits(&pieter, &types, day, open),
            None
        );
        assert_eq!(
            Waiting {
                not_after: Some(time!(13:30)),
                ..waiting()
            }
            .fits(&pieter, &types, day, open),
            None,
            "it must be over by then"
        );
        assert_eq!(
            Waiting {
                weekdays: vec![4, 5],
                ..waiting()
            }
            .fits(&pieter, &types, day, open),
            None
        );
        assert_eq!(
            Waiting {
                practitioner_id: Some(PractitionerId::random()),
                ..waiting()
            }
            .fits(&pieter, &types, day, open),
            None
        );
        assert_eq!(
            Waiting {
                discipline: Some(Discipline::Biokinetics),
                ..waiting()
            }
            .fits(&pieter, &types, day, open),
            None
        );
        assert_eq!(
            waiting().fits(
                &Practitioner {
                    discipline: Discipline::Biokinetics,
                    ..pieter
                },
                &types,
                day,
                open
            ),
            None,
            "he gives no such session"
        );
    }

    #[test]
    fn a_wish_reads_well() {
        let pieter = pieter();
        let all = std::slice::from_ref(&pieter);
        assert_eq!(waiting().wish(all), "Any time");
        let wish = Waiting {
            weekdays: vec![4, 5],
            not_before: Some(time!(14:00)),
            practitioner_id: Some(pieter.id),
            ..waiting()
        };
        assert_eq!(
            wish.wish(all),
            "Thursday or Friday, after 14:00, Pieter only"
        );
        let wish = Waiting {
            not_after: Some(time!(12:00)),
            discipline: Some(Discipline::Physiotherapy),
            ..waiting()
        };
        assert_eq!(wish.wish(all), "Before 12:00, any physiotherapist");
    }
}
