//! Memory that is read in long stretches, on large pages where the system has them: with small ones a pass over all weights
//! waits for their addresses as often as for them, and the processor's own reading ahead ends at each page.

use memmap2::MmapMut;
use std::alloc::{Layout, handle_alloc_error};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// The size of a large page, at a multiple of which its memory must begin.
const LARGE_PAGE: usize = 2 << 20;
/// What is asked of the system at once: most matrices are smaller than a large page, so they share it. What nobody writes to
/// takes no memory.
const CHUNK: usize = 64 << 20;
/// Parts below this share a chunk.
const SMALL: usize = CHUNK / 2;
/// A cache line.
const LINE: usize = 64;

/// A stretch of addresses, of which parts are given away from the front; it is given back when the last part is.
struct Chunk {
    /// Keeps the addresses.
    _map: MmapMut,
    start: *mut u8,
    length: usize,
    used: Mutex<usize>,
}

// SAFETY: it never touches the memory; who does holds a part, and parts are disjoint.
unsafe impl Send for Chunk {}
// SAFETY: as above.
unsafe impl Sync for Chunk {}

impl Chunk {
    /// For a part of this length, and for others where that is small.
    fn new(part: usize) -> std::io::Result<Chunk> {
        let least = if part < SMALL { CHUNK } else { part };
        let length = least.saturating_add(LINE - 1) / LINE * LINE;
        let mut map = MmapMut::map_anon(length.saturating_add(LARGE_PAGE))?;
        // Only a wish, and one that must come before the memory is first written; without it everything is as before.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        let skipped = map.as_ptr().align_offset(LARGE_PAGE).min(LARGE_PAGE);
        Ok(Chunk {
            start: map[skipped..].as_mut_ptr(),
            _map: map,
            length,
            used: Mutex::new(0),
        })
    }

    /// A part of this length, if there still is one.
    fn part(self: &Arc<Chunk>, length: usize) -> Option<Lines> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let start = *used;
        let end = start.checked_add(length)?.checked_next_multiple_of(LINE)?;
        if end > self.length {
            return None;
        }
        *used = end;
        Some(Lines {
            // SAFETY: `start` is at most the chunk's length.
            start: unsafe { self.start.add(start) },
            length,
            _chunk: Arc::clone(self),
        })
    }
}

/// The chunk that parts are taken of now.
static OPEN: Mutex<Weak<Chunk>> = Mutex::new(Weak::new());

/// Bytes that begin at a cache line, all nought at first. Memory is taken as it is written to.
pub(crate) struct Lines {
    start: *mut u8,
    length: usize,
    _chunk: Arc<Chunk>,
}

// SAFETY: it is the only owner of its bytes, as a Vec is.
unsafe impl Send for Lines {}
// SAFETY: shared references only read.
unsafe impl Sync for Lines {}

impl Lines {
    /// As many bytes as this. Ends the program where the system has no more, as every allocation does.
    pub(crate) fn zeroed(length: usize) -> Lines {
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(part) = open.upgrade().and_then(|chunk| chunk.part(length)) {
            return part;
        }
        let fresh = Chunk::new(length).ok().map(Arc::new);
        let part = fresh.as_ref().and_then(|chunk| chunk.part(length));
        if let (Some(chunk), true) = (&fresh, length < SMALL) {
            *open = Arc::downgrade(chunk);
        }
        part.unwrap_or_else(|| {
            handle_alloc_error(Layout::from_size_align(length, LINE).unwrap_or(Layout::new::<u8>()))
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.length
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: the part has this length, and anonymous memory is initialised.
        unsafe { std::slice::from_raw_parts(self.start, self.length) }
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and the borrow is unique.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.length) }
    }
}

/// Half-precision numbers, all nought at first: a cache of keys and values.
pub struct Halves(Lines);

impl Halves {
    /// As many as this.
    pub fn zeroed(count: usize) -> Halves {
        Halves(Lines::zeroed(count.saturating_mul(2)))
    }
}

impl std::ops::Deref for Halves {
    type Target = [u16];

    fn deref(&self) -> &[u16] {
        // SAFETY: a part begins at a cache line and has two bytes for each; every bit pattern is a number.
        unsafe { std::slice::from_raw_parts(self.0.start.cast(), self.0.length / 2) }
    }
}

impl std::ops::DerefMut for Halves {
    fn deref_mut(&mut self) -> &mut [u16] {
        // SAFETY: as above, and the borrow is unique.
        unsafe { std::slice::from_raw_parts_mut(self.0.start.cast(), self.0.length / 2) }
    }
}

/// Asks for the cache line at an address, without waiting.
#[inline(always)]
pub(crate) fn fetch(address: usize) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: prefetching never faults, whatever the address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T1>(std::ptr::without_provenance(address));
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_disjoint_zeroed_and_begin_at_a_line() {
        let lengths = [1, 64, 65, 553_000, CHUNK / 2, CHUNK - 64, CHUNK + 1, 7, 0];
        let mut parts: Vec<Lines> = lengths.iter().map(|&n| Lines::zeroed(n)).collect();
        for (i, part) in parts.iter_mut().enumerate() {
            assert_eq!(part.bytes().as_ptr() as usize % LINE, 0);
            assert!(part.bytes().iter().all(|&b| b == 0));
            part.bytes_mut().fill(i as u8 + 1);
        }
        for (i, part) in parts.iter().enumerate() {
            assert_eq!(part.bytes().len(), lengths[i]);
            assert!(part.bytes().iter().all(|&b| b == i as u8 + 1));
        }
    }

    #[test]
    fn small_parts_share_a_large_page_and_outlive_one_another() {
        let chunk = Arc::new(Chunk::new(0).unwrap());
        assert_eq!(chunk.start as usize % LARGE_PAGE, 0);
        let first = chunk.part(100).unwrap();
        let mut second = chunk.part(100).unwrap();
        assert_eq!(second.start as usize - first.start as usize, 128);
        assert!(chunk.part(CHUNK).is_none());
        drop((chunk, first));
        second.bytes_mut().fill(1);
        assert_eq!(
            second.bytes().iter().map(|&b| u32::from(b)).sum::<u32>(),
            100
        );
    }
}
