//! Requests that wait for a place in the worker. Pure.

use hadada_inference_protocol::{Priority, RequestId};
use std::collections::VecDeque;

/// After this many interactive requests in a row a background one gets its turn, so that it moves at all.
const PATIENCE: u32 = 4;

/// What a queue needs to know of what waits in it.
pub trait Waiting {
    /// Its name.
    fn id(&self) -> RequestId;
    /// Who waits for it.
    fn priority(&self) -> Priority;
}

/// A bounded queue with two priorities.
pub struct Queue<T> {
    interactive: VecDeque<T>,
    background: VecDeque<T>,
    capacity: usize,
    passed_over: u32,
}

impl<T: Waiting> Queue<T> {
    /// An empty queue.
    pub fn new(capacity: usize) -> Queue<T> {
        Queue {
            interactive: VecDeque::new(),
            background: VecDeque::new(),
            capacity,
            passed_over: 0,
        }
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.interactive.len() + self.background.len()
    }

    /// Adds one at the end, or gives it back when the queue is full. Background requests may fill only half, so that
    /// they never shut people out.
    pub fn push(&mut self, item: T) -> Result<(), T> {
        let (lane, room) = match item.priority() {
            Priority::Interactive => (
                &mut self.interactive,
                self.capacity.saturating_sub(self.background.len()),
            ),
            Priority::Background => (
                &mut self.background,
                self.capacity
                    .div_ceil(2)
                    .min(self.capacity.saturating_sub(self.interactive.len())),
            ),
        };
        if lane.len() >= room {
            return Err(item);
        }
        lane.push_back(item);
        Ok(())
    }

    /// Puts one back at the front: it had been taken, and its worker died. There is always room for it.
    pub fn put_back(&mut self, item: T) {
        match item.priority() {
            Priority::Interactive => self.interactive.push_front(item),
            Priority::Background => self.background.push_front(item),
        }
    }

    /// The next one.
    pub fn pop(&mut self) -> Option<T> {
        if !self.background.is_empty()
            && (self.interactive.is_empty() || self.passed_over >= PATIENCE)
        {
            self.passed_over = 0;
            return self.background.pop_front();
        }
        if !self.background.is_empty() {
            self.passed_over += 1;
        }
        self.interactive.pop_front()
    }

    /// Takes one out, wherever it stands.
    pub fn remove(&mut self, id: RequestId) -> Option<T> {
        [&mut self.interactive, &mut self.background]
            .into_iter()
            .find_map(|lane| {
                let place = lane.iter().position(|item| item.id() == id)?;
                lane.remove(place)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone, Copy, PartialEq)]
    struct Item(RequestId, Priority);

    impl Waiting for Item {
        fn id(&self) -> RequestId {
            self.0
        }
        fn priority(&self) -> Priority {
            self.1
        }
    }

    fn item(id: u64, background: bool) -> Item {
        Item(
            id,
            if background {
                Priority::Background
            } else {
                Priority::Interactive
            },
        )
    }

    #[test]
    fn background_fills_only_half() {
        let mut queue = Queue::new(4);
        let taken = (0..5)
            .filter(|&i| queue.push(item(i, true)).is_ok())
            .count();
        assert_eq!(taken, 2);
        assert!(queue.push(item(9, false)).is_ok());
    }

    proptest! {
        #[test]
        fn the_queue_keeps_its_bound_and_its_order(arrivals in prop::collection::vec(any::<bool>(), 0..40), capacity in 1usize..20) {
            let mut queue = Queue::new(capacity);
            let mut kept = Vec::new();
            for (id, background) in arrivals.into_iter().enumerate() {
                let item = item(id as u64, background);
                if queue.push(item).is_ok() {
                    kept.push(item);
                }
                prop_assert!(queue.waiting() <= capacity);
            }
            let out: Vec<Item> = std::iter::from_fn(|| queue.pop()).collect();
            for priority in [Priority::Interactive, Priority::Background] {
                let of = |items: &[Item]| items.iter().copied().filter(|i| i.1 == priority).collect::<Vec<_>>();
                prop_assert_eq!(of(&out), of(&kept));
            }
        }

        #[test]
        fn nobody_waits_behind_more_than_a_few(interactive in 0usize..15, background in 1usize..15) {
            let mut queue = Queue::new(60);
            (0..interactive).for_each(|i| queue.push(item(i as u64, false)).unwrap());
            (0..background).for_each(|i| queue.push(item(100 + i as u64, true)).unwrap());
            let out: Vec<Item> = std::iter::from_fn(|| queue.pop()).collect();
            let first = out.iter().position(|i| i.1 == Priority::Background).unwrap();
            prop_assert_eq!(first, interactive.min(PATIENCE as usize));
        }
    }
}
