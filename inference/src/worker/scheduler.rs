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
    /// Guessed tokens behind them.
    pub guessed: usize,
    /// Who waits for it.
    pub priority: Priority,
    /// When it came: smaller is earlier.
    pub arrival: u64,
}

/// What a sequence gets of a pass.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Share {
    /// Rows for tokens that wait.
    pub rows: usize,
    /// Rows for guessed tokens; none unless all that wait have theirs.
    pub guessed: usize,
}

/// How many rows of each sequence the next pass has, in the order given. Their sum is at most `budget`.
///
/// Everybody gets a few rows first, so that every sequence moves in every pass as long as `budget` is at least
/// [`STEADY_ROWS`] for each; what is left goes to long prompts, interactive ones first, then in order of arrival. Guesses
/// get what nobody needs, in the same order.
pub fn plan(work: &[Work], budget: usize) -> Vec<Share> {
    let mut shares = vec![Share::default(); work.len()];
    let mut left = budget;
    let mut order: Vec<usize> = (0..work.len()).collect();
    order.sort_by_key(|&i| (work[i].priority, work[i].arrival));
    for limit in [STEADY_ROWS, usize::MAX] {
        for &i in &order {
            let more = (work[i].pending - shares[i].rows).min(left).min(limit);
            shares[i].rows += more;
            left -= more;
        }
    }
    for &i in &order {
        if shares[i].rows == work[i].pending {
            shares[i].guessed = work[i].guessed.min(left);
            left -= shares[i].guessed;
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_work() -> impl Strategy<Value = Vec<Work>> {
        let one =
            (1usize..600, 0usize..13, any::<bool>()).prop_map(|(pending, guessed, background)| {
                Work {
                    pending,
                    guessed,
                    priority: if background {
                        Priority::Background
                    } else {
                        Priority::Interactive
                    },
                    arrival: 0,
                }
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
            let shares = plan(&work, budget);
            let wanted: usize = work.iter().map(|w| w.pending + w.guessed).sum();
            let used: usize = shares.iter().map(|s| s.rows + s.guessed).sum();
            prop_assert!(used <= budget);
            let pending: usize = work.iter().map(|w| w.pending).sum();
            prop_assert_eq!(shares.iter().map(|s| s.rows).sum::<usize>(), pending.min(budget));
            if pending <= budget {
                prop_assert_eq!(used, wanted.min(budget));
            }
            prop_assert!(shares.iter().zip(&work).all(|(s, w)| s.rows <= w.pending && s.guessed <= w.guessed));
        }

        #[test]
        fn everybody_moves_in_every_pass(work in any_work()) {
            let shares = plan(&work, 16 * STEADY_ROWS);
            prop_assert!(shares.iter().all(|s| s.rows > 0));
        }

        #[test]
        fn a_background_prompt_waits_for_interactive_ones(work in any_work(), budget in 1usize..300) {
            let shares = plan(&work, budget);
            let hungry = work.iter().zip(&shares).any(|(w, s)| w.priority == Priority::Interactive && s.rows < w.pending);
            let fed = work.iter().zip(&shares).any(|(w, s)| w.priority == Priority::Background && s.rows > STEADY_ROWS);
            prop_assert!(!(hungry && fed));
        }

        #[test]
        fn guesses_take_nothing_from_anybody(work in any_work(), budget in 1usize..300) {
            let shares = plan(&work, budget);
            let plain: Vec<Work> = work.iter().map(|w| Work { guessed: 0, ..*w }).collect();
            for (share, without) in shares.iter().zip(plan(&plain, budget)) {
                prop_assert_eq!(share.rows, without.rows);
            }
            let hungry = work.iter().zip(&shares).any(|(w, s)| s.rows < w.pending);
            prop_assert!(!hungry || shares.iter().all(|s| s.guessed == 0));
        }

        #[test]
        fn a_cancelled_sequence_leaves_its_rows_to_the_others(work in any_work(), budget in 1usize..300, place in 0usize..16) {
            prop_assume!(!work.is_empty());
            let gone = place % work.len();
            let mut rest = work.clone();
            rest.remove(gone);
            let mut before = plan(&work, budget);
            before.remove(gone);
            for (now, before) in plan(&rest, budget).iter().zip(before) {
                prop_assert!(now.rows >= before.rows);
            }
        }
    }
}
