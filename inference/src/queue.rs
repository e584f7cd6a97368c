//! Requests that wait for a place in the worker. Pure.
//!
//! Within a priority, clients take turns: next comes the client with the fewest requests in the worker, and among equals
//! the one whose last turn is longest ago. A client that sends a hundred requests at once so waits behind itself, not
//! others behind it.

use hadada_inference_protocol::{Priority, RequestId};
use std::collections::{HashMap, VecDeque};

/// After this many interactive requests in a row a background one gets its turn, so that it moves at all.
const PATIENCE: u32 = 4;

/// What a queue needs to know of what waits in it.
pub trait Waiting {
    /// Its name.
    fn id(&self) -> RequestId;
    /// Who waits for it.
    fn priority(&self) -> Priority;
    /// Whose it is.
    fn client(&self) -> &str;
}

/// A bounded queue with two priorities, in which clients take turns.
pub struct Queue<T> {
    interactive: Lane<T>,
    background: Lane<T>,
    capacity: usize,
    passed_over: u32,
    turns: u64,
}

/// One priority: each client's requests in their order. A client is in it while it waits, or was served lately.
struct Lane<T> {
    clients: HashMap<String, Line<T>>,
    length: usize,
}

struct Line<T> {
    items: VecDeque<T>,
    last_turn: u64,
}

/// Clients without requests are forgotten when there are more than this.
const REMEMBERED: usize = 256;

impl<T: Waiting> Lane<T> {
    fn new() -> Lane<T> {
        Lane {
            clients: HashMap::new(),
            length: 0,
        }
    }

    fn line(&mut self, client: &str) -> &mut Line<T> {
        if !self.clients.contains_key(client) && self.clients.len() >= REMEMBERED {
            self.clients.retain(|_, line| !line.items.is_empty());
        }
        self.clients
            .entry(client.to_owned())
            .or_insert_with(|| Line {
                items: VecDeque::new(),
                last_turn: 0,
            })
    }

    fn pop(&mut self, turn: u64, running: &impl Fn(&str) -> usize) -> Option<T> {
        let (client, _) = self
            .clients
            .iter()
            .filter(|(_, line)| !line.items.is_empty())
            .min_by_key(|(client, line)| {
                let first = line.items.front().map_or(0, Waiting::id);
                (running(client), line.last_turn, first)
            })?;
        let client = client.clone();
        let line = self.line(&client);
        line.last_turn = turn;
        let item = line.items.pop_front();
        self.length -= usize::from(item.is_some());
        item
    }

    fn remove(&mut self, wanted: impl Fn(&T) -> bool) -> Option<T> {
        let found = self.clients.values_mut().find_map(|line| {
            let place = line.items.iter().position(&wanted)?;
            line.items.remove(place)
        });
        self.length -= usize::from(found.is_some());
        found
    }

    /// The newest request of the client with the most, where that is more than `than`.
    fn newest_of_the_greediest(&mut self, than: usize) -> Option<T> {
        let line = self
            .clients
            .values_mut()
            .max_by_key(|line| line.items.len())
            .filter(|line| line.items.len() > than)?;
        let item = line.items.pop_back();
        self.length -= usize::from(item.is_some());
        item
    }
}

/// Why a request has no place.
#[derive(Debug, PartialEq, Eq)]
pub struct Full<T>(pub T);

impl<T: Waiting> Queue<T> {
    /// An empty queue.
    pub fn new(capacity: usize) -> Queue<T> {
        Queue {
            interactive: Lane::new(),
            background: Lane::new(),
            capacity,
            passed_over: 0,
            turns: 0,
        }
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.interactive.length + self.background.length
    }

    /// Adds one. In a full queue it takes the place of the newest request of whoever has the most in it, if that is
    /// more than its own client would have; otherwise it is given back. Whoever is pushed out comes back as `Ok(Some)`.
    /// Background requests may fill only half, so that they never shut people out.
    ///
    /// # Errors
    /// The request itself, when there is no place for it.
    pub fn push(&mut self, item: T) -> Result<Option<T>, Full<T>> {
        let (lane, room) = match item.priority() {
            Priority::Interactive => (
                &mut self.interactive,
                self.capacity.saturating_sub(self.background.length),
            ),
            Priority::Background => (
                &mut self.background,
                self.capacity
                    .div_ceil(2)
                    .min(self.capacity.saturating_sub(self.interactive.length)),
            ),
        };
        let mut pushed_out = None;
        if lane.length >= room {
            let own = lane
                .clients
                .get(item.client())
                .map_or(0, |line| line.items.len());
            pushed_out = lane.newest_of_the_greediest(own + 1);
            if pushed_out.is_none() {
                return Err(Full(item));
            }
        }
        lane.length += 1;
        lane.line(item.client()).items.push_back(item);
        Ok(pushed_out)
    }

    /// Puts one back at the front: it had been taken, and its worker died. There is always room for it.
    pub fn put_back(&mut self, item: T) {
        let lane = match item.priority() {
            Priority::Interactive => &mut self.interactive,
            Priority::Background => &mut self.background,
        };
        lane.length += 1;
        let line = lane.line(item.client());
        line.last_turn = 0;
        line.items.push_front(item);
    }

    /// The next one. `running` says how many requests of a client are in the worker; without `background` only
    /// interactive ones are given out.
    pub fn pop(&mut self, running: impl Fn(&str) -> usize, background: bool) -> Option<T> {
        self.turns += 1;
        let waits = background && self.background.length > 0;
        if waits && (self.interactive.length == 0 || self.passed_over >= PATIENCE) {
            self.passed_over = 0;
            return self.background.pop(self.turns, &running);
        }
        if waits {
            self.passed_over += 1;
        }
        self.interactive.pop(self.turns, &running)
    }

    /// Takes one out, wherever it stands.
    pub fn remove(&mut self, id: RequestId) -> Option<T> {
        self.take(|item| item.id() == id)
    }

    /// Takes out one that fits.
    pub fn take(&mut self, wanted: impl Fn(&T) -> bool) -> Option<T> {
        [&mut self.interactive, &mut self.background]
            .into_iter()
            .find_map(|lane| lane.remove(&wanted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone, Copy, PartialEq)]
    struct Item(RequestId, Priority, u8);

    const NAMES: [&str; 4] = ["a", "b", "c", "d"];

    impl Waiting for Item {
        fn id(&self) -> RequestId {
            self.0
        }
        fn priority(&self) -> Priority {
            self.1
        }
        fn client(&self) -> &str {
            NAMES[usize::from(self.2)]
        }
    }

    fn item(id: u64, background: bool, client: u8) -> Item {
        let priority = if background {
            Priority::Background
        } else {
            Priority::Interactive
        };
        Item(id, priority, client)
    }

    fn empty(queue: &mut Queue<Item>) -> Vec<Item> {
        std::iter::from_fn(|| queue.pop(|_| 0, true)).collect()
    }

    #[test]
    fn background_fills_only_half() {
        let mut queue = Queue::new(4);
        let taken = (0..5)
            .filter(|&i| queue.push(item(i, true, 0)).is_ok())
            .count();
        assert_eq!(taken, 2);
        assert!(queue.push(item(9, false, 0)).is_ok());
    }

    #[test]
    fn clients_take_turns_and_those_with_less_in_the_worker_come_first() {
        let mut queue = Queue::new(20);
        (0..6).for_each(|i| assert!(queue.push(item(i, false, 0)).is_ok()));
        (6..8).for_each(|i| assert!(queue.push(item(i, false, 1)).is_ok()));
        let order: Vec<u8> = empty(&mut queue).iter().map(|i| i.2).collect();
        assert_eq!(order, [0, 1, 0, 1, 0, 0, 0, 0]);
        (0..3).for_each(|i| assert!(queue.push(item(i, false, 0)).is_ok()));
        assert!(queue.push(item(3, false, 1)).is_ok());
        let busy = |client: &str| usize::from(client == "a") * 5;
        assert_eq!(queue.pop(busy, true).unwrap().2, 1);
    }

    #[test]
    fn who_fills_the_queue_makes_room_for_others() {
        let mut queue = Queue::new(4);
        (0..4).for_each(|i| assert_eq!(queue.push(item(i, false, 0)), Ok(None)));
        assert_eq!(
            queue.push(item(4, false, 0)),
            Err(Full(item(4, false, 0))),
            "one's own requests are not pushed out"
        );
        assert_eq!(
            queue.push(item(5, false, 1)),
            Ok(Some(item(3, false, 0))),
            "the newest of the greediest goes"
        );
        assert_eq!(queue.push(item(6, false, 2)), Ok(Some(item(2, false, 0))));
        assert_eq!(queue.push(item(7, false, 3)), Ok(Some(item(1, false, 0))));
        assert!(queue.push(item(8, false, 1)).is_err());
    }

    #[test]
    fn without_background_people_are_served_alone() {
        let mut queue = Queue::new(8);
        assert!(queue.push(item(0, true, 0)).is_ok());
        assert_eq!(queue.pop(|_| 0, false), None);
        assert!(queue.push(item(1, false, 0)).is_ok());
        assert_eq!(queue.pop(|_| 0, false).unwrap().0, 1);
        assert_eq!(queue.pop(|_| 0, true).unwrap().0, 0);
    }

    proptest! {
        #[test]
        fn the_queue_keeps_its_bound_and_each_clients_order(arrivals in prop::collection::vec((any::<bool>(), 0u8..4), 0..60), capacity in 1usize..20) {
            let mut queue = Queue::new(capacity);
            let mut kept: Vec<Item> = Vec::new();
            for (id, (background, client)) in arrivals.into_iter().enumerate() {
                let item = item(id as u64, background, client);
                if let Ok(out) = queue.push(item) {
                    kept.retain(|k| Some(*k) != out);
                    kept.push(item);
                }
                prop_assert!(queue.waiting() <= capacity);
            }
            let out = empty(&mut queue);
            prop_assert_eq!(queue.waiting(), 0);
            for priority in [Priority::Interactive, Priority::Background] {
                for client in 0..4 {
                    let of = |items: &[Item]| items.iter().copied().filter(|i| i.1 == priority && i.2 == client).collect::<Vec<_>>();
                    prop_assert_eq!(of(&out), of(&kept));
                }
            }
        }

        #[test]
        fn nobody_waits_behind_more_than_one_of_each_other_client(loads in prop::collection::vec(0usize..12, 2..4)) {
            let mut queue = Queue::new(60);
            let mut id = 0;
            for (client, load) in loads.iter().enumerate() {
                for _ in 0..*load {
                    prop_assert!(queue.push(item(id, false, client as u8)).is_ok());
                    id += 1;
                }
            }
            let out = empty(&mut queue);
            for (client, load) in loads.iter().enumerate().filter(|(_, l)| **l > 0) {
                let places: Vec<usize> = out.iter().enumerate().filter(|(_, i)| usize::from(i.2) == client).map(|(p, _)| p).collect();
                prop_assert_eq!(places.len(), *load);
                for (turn, place) in places.iter().enumerate() {
                    prop_assert!(*place < (turn + 1) * loads.len());
                }
            }
        }

        #[test]
        fn nobody_waits_behind_more_than_a_few_people(interactive in 0usize..15, background in 1usize..15) {
            let mut queue = Queue::new(60);
            (0..interactive).for_each(|i| assert!(queue.push(item(i as u64, false, 0)).is_ok()));
            (0..background).for_each(|i| assert!(queue.push(item(100 + i as u64, true, 0)).is_ok()));
            let out = empty(&mut queue);
            let first = out.iter().position(|i| i.1 == Priority::Background).unwrap();
            prop_assert_eq!(first, interactive.min(PATIENCE as usize));
        }
    }
}
