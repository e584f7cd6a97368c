//! Which rows form the next pass. Pure: it sees numbers and gives numbers.

use hadada_inference_protocol::Priority;

/// Rows every sequence may have in every pass, if it has that many waiting. One is the usual case while writing, more
/// after a grammar forced some; so nobody waits for somebody's long prompt.
pub const STEADY_ROWS: usize = 8;

/// A sequence as the scheduler sees it.
#[derive(Debug, Clone, Copy)]
pub struct Work {
    /// Tokens that wait to be computed.
    pub pending: usize,
    /// Who waits for it.
    pub priority: Priority,
    /// When it came: smaller is earlier.
    pub arrival: u64,
}

/// How many rows of each sequence the next pass has, in the order given. Their sum is at most `budget`.
///
/// Everybody gets a few rows first, so that every sequence moves in every pass as long as `budget` is at least
/// [`STEADY_ROWS`] for each; what is left goes to long prompts, interactive ones first, then in order of arrival.
pub fn plan(work: &[Work], budget: usize) -> Vec<usize> {
    let mut rows = vec![0; work.len()];
    let mut left = budget;
    let mut order: Vec<usize> = (0..work.len()).collect();
    order.sort_by_key(|&i| (work[i].priority, work[i].arrival));
    for limit in [STEADY_ROWS, usize::MAX] {
        for &i in &order {
            let share = (work[i].pending - rows[i]).min(left).min(limit);
            rows[i] += share;
            left -= share;
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_work() -> impl Strategy<Value = Vec<Work>> {
        let one = (1usize..600, any::<bool>()).prop_map(|(pending, background)| Work {
            pending,
            priority: if background {
                Priority::Background
            } else {
                Priority::Interactive
            },
            arrival: 0,
        });
        prop::collection::vec(one, 0..16).prop_map(|mut work| {
            work.iter_mut()
                .enumerate()
                .for_each(|(i, w)| w.arrival = i as u64);
            work
        })
    }

    proptest! {
        #[test]
        fn the_budget_is_used_up_and_never_overrun(work in any_work(), budget in 1usize..300) {
            let rows = plan(&work, budget);
            let wanted: usize = work.iter().map(|w| w.pending).sum();
            prop_assert_eq!(rows.iter().sum::<usize>(), wanted.min(budget));
            prop_assert!(rows.iter().zip(&work).all(|(r, w)| *r <= w.pending));
        }

        #[test]
        fn everybody_moves_in_every_pass(work in any_work()) {
            let rows = plan(&work, 16 * STEADY_ROWS);
            prop_assert!(rows.iter().all(|&r| r > 0));
        }

        #[test]
        fn a_background_prompt_waits_for_interactive_ones(work in any_work(), budget in 1usize..300) {
            let rows = plan(&work, budget);
            let hungry = work.iter().zip(&rows).any(|(w, &r)| w.priority == Priority::Interactive && r < w.pending);
            let fed = work.iter().zip(&rows).any(|(w, &r)| w.priority == Priority::Background && r > STEADY_ROWS);
            prop_assert!(!(hungry && fed));
        }
    }
}
