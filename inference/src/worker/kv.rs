//! Which blocks of the key and value cache belong to whom. A block that is full can be shared by every sequence that
//! begins with the same tokens, so a system prompt is computed once.
//!
//! A shared block is found by its tokens and by which block came before it, compared whole: two different prompts can
//! never meet in one block by a collision of hashes.

use hadada_inference_protocol::Token;
use hadada_kernels::KV_BLOCK;
use std::collections::{BTreeMap, HashMap};

/// Says which content a block has; never used twice.
type ContentId = u64;

/// What a full block holds: the content before it, and its own tokens.
type Key = (ContentId, [Token; KV_BLOCK]);

/// The content before the first block.
const NOTHING: ContentId = 0;

/// The blocks of a cache.
pub struct Blocks {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Full blocks that nobody uses now, oldest first.
    idle: BTreeMap<u64, u32>,
    known: HashMap<Key, (u32, ContentId)>,
    next_content: ContentId,
    clock: u64,
}

#[derive(Default, Clone)]
struct Slot {
    users: u32,
    key: Option<Key>,
    /// Its place in `idle`.
    since: u64,
}

/// The blocks of one sequence.
#[derive(Debug, Default)]
pub struct Table {
    /// Blocks in the order of positions.
    pub blocks: Vec<u32>,
    /// Full blocks whose content is registered, or known to be registered by somebody else.
    sealed: usize,
    last_content: ContentId,
}

impl Blocks {
    /// A cache of this many blocks.
    pub fn new(count: usize) -> Blocks {
        Blocks {
            slots: vec![Slot::default(); count],
            free: (0..count as u32).rev().collect(),
            idle: BTreeMap::new(),
            known: HashMap::new(),
            next_content: NOTHING + 1,
            clock: 0,
        }
    }

    /// All blocks, used or not.
    pub fn total(&self) -> usize {
        self.slots.len()
    }

    /// Blocks that a new sequence could have.
    pub fn available(&self) -> usize {
        self.free.len() + self.idle.len()
    }

    /// Takes the blocks for a sequence that begins with `prompt` and grows to at most `length` positions. Gives the table
    /// and how many of its first positions are already computed (always less than the prompt, whose last token must
    /// be computed to have something to choose from), or `None` when there isn't room now.
    pub fn reserve(&mut self, prompt: &[Token], length: usize) -> Option<(Table, usize)> {
        let needed = length.div_ceil(KV_BLOCK);
        let mut table = Table {
            last_content: NOTHING,
            ..Table::default()
        };
        let shareable = prompt.len().saturating_sub(1) / KV_BLOCK;
        for tokens in prompt.as_chunks::<KV_BLOCK>().0.iter().take(shareable) {
            let Some(&(block, content)) = self.known.get(&(table.last_content, *tokens)) else {
                break;
            };
            table.blocks.push(block);
            table.last_content = content;
        }
        table.sealed = table.blocks.len();
        let idle_hits = table
            .blocks
            .iter()
            .filter(|&&b| self.slots[b as usize].users == 0)
            .count();
        if needed - table.sealed > self.available() - idle_hits {
            return None;
        }
        for &block in &table.blocks {
            let slot = &mut self.slots[block as usize];
            if slot.users == 0 {
                self.idle.remove(&slot.since);
            }
            slot.users += 1;
        }
        while table.blocks.len() < needed {
            let block = self.take();
            table.blocks.push(block);
        }
        let cached = table.sealed * KV_BLOCK;
        Some((table, cached))
    }

    /// An unused block: a free one, or the one idle longest. Only called when there is one.
    fn take(&mut self) -> u32 {
        let block = self
            .free
            .pop()
            .or_else(|| self.idle.pop_first().map(|(_, block)| block))
            .unwrap_or_default();
        let slot = &mut self.slots[block as usize];
        if let Some(key) = slot.key.take() {
            self.known.remove(&key);
        }
        slot.users = 1;
        block
    }

    /// Makes the full blocks of a sequence known to others. `computed` are its tokens whose keys and values are written.
    pub fn seal(&mut self, table: &mut Table, computed: &[Token]) {
        for tokens in computed.as_chunks::<KV_BLOCK>().0.iter().skip(table.sealed) {
            let key = (table.last_content, *tokens);
            let block = table.blocks[table.sealed];
            table.sealed += 1;
            table.last_content = match self.known.get(&key) {
                // Somebody else computed the same at the same time: their block serves, ours stays private.
                Some(&(_, content)) => content,
                None => {
                    let content = self.next_content;
                    self.next_content += 1;
                    self.known.insert(key, (block, content));
                    self.slots[block as usize].key = Some(key);
                    content
                }
            };
        }
    }

    /// Gives a sequence's blocks back; the known ones stay findable until somebody needs the room.
    pub fn release(&mut self, table: Table) {
        // The end of a prompt is the least likely to be asked for again: it becomes the oldest.
        for block in table.blocks.into_iter().rev() {
            let slot = &mut self.slots[block as usize];
            slot.users -= 1;
            if slot.users > 0 {
                continue;
            }
            if slot.key.is_some() {
                self.clock += 1;
                slot.since = self.clock;
                self.idle.insert(slot.since, block);
            } else {
                self.free.push(block);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn prompt(start: u32, length: usize) -> Vec<Token> {
        (start..).take(length).collect()
    }

    #[test]
    fn a_shared_beginning_is_computed_once() {
        let mut blocks = Blocks::new(10);
        let (mut first, cached) = blocks.reserve(&prompt(0, 100), 120).unwrap();
        assert_eq!((first.blocks.len(), cached), (4, 0));
        blocks.seal(&mut first, &prompt(0, 100));
        let mut other = prompt(0, 70);
        other.extend(prompt(900, 30));
        let (second, cached) = blocks.reserve(&other, 100).unwrap();
        assert_eq!(cached, 64);
        assert_eq!(second.blocks[..2], first.blocks[..2]);
        assert_ne!(second.blocks[2], first.blocks[2]);
    }

    #[test]
    fn the_last_token_is_always_computed() {
        let mut blocks = Blocks::new(10);
        let (mut table, _) = blocks.reserve(&prompt(0, 64), 64).unwrap();
        blocks.seal(&mut table, &prompt(0, 64));
        assert_eq!(blocks.reserve(&prompt(0, 64), 64).unwrap().1, 32);
        assert_eq!(blocks.reserve(&prompt(0, 65), 65).unwrap().1, 64);
    }

    #[test]
    fn a_block_that_made_room_is_forgotten_with_what_followed_it() {
        let mut blocks = Blocks::new(3);
        let (mut table, _) = blocks.reserve(&prompt(0, 96), 96).unwrap();
        blocks.seal(&mut table, &prompt(0, 96));
        blocks.release(table);
        let (other, _) = blocks.reserve(&prompt(500, 80), 96).unwrap();
        blocks.release(other);
        assert_eq!(blocks.reserve(&prompt(0, 96), 96).unwrap().1, 0);
    }

    proptest! {
        #[test]
        fn no_block_is_lost_or_given_to_two_who_differ(steps in prop::collection::vec((0u32..4, 1usize..150, 0usize..80, any::<bool>()), 1..60)) {
            let mut blocks = Blocks::new(12);
            let mut live: Vec<(Table, Vec<Token>)> = Vec::new();
            for (start, length, more, drop_first) in steps {
                if drop_first && !live.is_empty() {
                    let (table, _) = live.remove(0);
                    blocks.release(table);
                }
                let tokens = prompt(start * 1000, length);
                if let Some((mut table, cached)) = blocks.reserve(&tokens, length + more) {
                    prop_assert!(cached < length);
                    prop_assert_eq!(table.blocks.len(), (length + more).div_ceil(KV_BLOCK));
                    blocks.seal(&mut table, &tokens);
                    live.push((table, tokens));
                }
                let mut owner: HashMap<u32, (usize, &[Token])> = HashMap::new();
                for (table, tokens) in &live {
                    for (i, &block) in table.blocks.iter().enumerate() {
                        let end = tokens.len().min((i + 1) * KV_BLOCK);
                        if let Some((place, before)) = owner.insert(block, (i, &tokens[..end])) {
                            prop_assert_eq!(place, i);
                            prop_assert_eq!(before, &tokens[..end]);
                        }
                    }
                }
                prop_assert_eq!(owner.len() + blocks.available(), blocks.total());
            }
            for (table, _) in live {
                blocks.release(table);
            }
            prop_assert_eq!(blocks.available(), 12);
        }
    }
}
