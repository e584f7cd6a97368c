//! Alerts: what is wrong becomes one, and stays until it is over.

use time::OffsetDateTime;
use uuid::Uuid;

use super::rules::{Condition, Standing};

/// Something wrong with the box, now or before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// Its id.
    pub id: Uuid,
    /// What it is about.
    pub kind: String,
    /// `warning` or `bad`.
    pub state: String,
    /// What is wrong.
    pub said: String,
    /// What to do.
    pub what_to_do: String,
    /// Since when, UTC.
    pub began_at: OffsetDateTime,
    /// When somebody said that they know.
    pub acknowledged_at: Option<OffsetDateTime>,
}

impl Alert {
    /// How bad it is.
    #[must_use]
    pub fn standing(&self) -> Standing {
        if self.state == "bad" {
            Standing::Bad
        } else {
            Standing::Warn
        }
    }
}

/// What has to be done so that the open alerts are what is wrong now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// New.
    Open(Condition),
    /// The same in other words, or not as bad any more.
    Reword(Uuid, Condition),
    /// It got worse: whoever knew of it has to look again.
    Worsen(Uuid, Condition),
    /// Over.
    End(Uuid),
}

pub(super) fn plan(open: &[Alert], wrong: &[Condition]) -> Vec<Change> {
    let mut changes = Vec::new();
    for condition in wrong {
        match open.iter().find(|a| a.kind == condition.kind) {
            None => changes.push(Change::Open(condition.clone())),
            Some(alert) if condition.standing > alert.standing() => {
                changes.push(Change::Worsen(alert.id, condition.clone()));
            }
            Some(alert)
                if condition.standing != alert.standing()
                    || condition.said != alert.said
                    || condition.what_to_do != alert.what_to_do =>
            {
                changes.push(Change::Reword(alert.id, condition.clone()));
            }
            Some(_) => {}
        }
    }
    for alert in open {
        if !wrong.iter().any(|c| c.kind == alert.kind) {
            changes.push(Change::End(alert.id));
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn conditions() -> impl Strategy<Value = Vec<Condition>> {
        proptest::collection::btree_map(
            prop_oneof![Just("backup"), Just("drill"), Just("wal"), Just("disk")],
            (any::<bool>(), 0..3_u8),
            0..4,
        )
        .prop_map(|map| {
            map.into_iter()
                .map(|(kind, (bad, said))| Condition {
                    kind: kind.into(),
                    standing: if bad { Standing::Bad } else { Standing::Warn },
                    said: format!("said {said}"),
                    what_to_do: String::new(),
                })
                .collect()
        })
    }

    fn state(standing: Standing) -> String {
        if standing == Standing::Bad {
            "bad"
        } else {
            "warning"
        }
        .into()
    }

    /// The alerts after the changes, and which of them somebody has to look at anew.
    fn apply(mut open: Vec<Alert>, changes: Vec<Change>) -> Vec<Alert> {
        let set = |alert: &mut Alert, c: Condition| {
            (alert.state, alert.said, alert.what_to_do) = (state(c.standing), c.said, c.what_to_do);
        };
        for change in changes {
            match change {
                Change::Open(c) => open.push(Alert {
                    id: Uuid::now_v7(),
                    kind: c.kind.clone(),
                    state: state(c.standing),
                    said: c.said,
                    what_to_do: c.what_to_do,
                    began_at: OffsetDateTime::UNIX_EPOCH,
                    acknowledged_at: None,
                }),
                Change::Reword(id, c) => {
                    set(open.iter_mut().find(|a| a.id == id).unwrap(), c);
                }
                Change::Worsen(id, c) => {
                    let alert = open.iter_mut().find(|a| a.id == id).unwrap();
                    alert.acknowledged_at = None;
                    set(alert, c);
                }
                Change::End(id) => open.retain(|a| a.id != id),
            }
        }
        open
    }

    proptest! {
        #[test]
        fn open_alerts_are_what_is_wrong_and_looking_twice_changes_nothing(first in conditions(), second in conditions()) {
            let mut open = apply(Vec::new(), plan(&[], &first));
            for alert in &mut open {
                alert.acknowledged_at = Some(OffsetDateTime::UNIX_EPOCH);
            }
            let before = open.clone();
            let after = apply(open.clone(), plan(&open, &second));
            prop_assert_eq!(after.len(), second.len());
            for condition in &second {
                let alert = after.iter().find(|a| a.kind == condition.kind).unwrap();
                prop_assert_eq!((alert.standing(), &alert.said), (condition.standing, &condition.said));
                let known = before.iter().find(|a| a.kind == condition.kind);
                let quiet = known.is_some_and(|a| a.standing() >= condition.standing);
                prop_assert_eq!(alert.acknowledged_at.is_some(), quiet);
            }
            prop_assert_eq!(plan(&after, &second), Vec::new());
        }
    }
}
