//! Positions of frames in the file, from which the tag frame's table of contents is made.

/// At most [`Self::CAPACITY`] positions whatever the length, evenly spaced, within one spacing of
/// exact.
#[derive(Debug)]
pub(crate) struct SeekTable {
    /// Byte offset, from the first audio frame, of every `spacing`th frame.
    offsets: Vec<u64>,
    spacing: u64,
    frames: u64,
    bytes: u64,
}

impl SeekTable {
    const CAPACITY: usize = 4096;

    pub(crate) fn new() -> Self {
        Self { offsets: Vec::with_capacity(Self::CAPACITY), spacing: 1, frames: 0, bytes: 0 }
    }

    /// Adds a frame of `bytes`.
    pub(crate) fn push(&mut self, bytes: usize) {
        if self.frames.is_multiple_of(self.spacing) {
            if self.offsets.len() == Self::CAPACITY {
                let mut index = 0;
                self.offsets.retain(|_| {
                    index += 1;
                    index % 2 == 1
                });
                self.spacing *= 2;
            }
            if self.frames.is_multiple_of(self.spacing) {
                self.offsets.push(self.bytes);
            }
        }
        self.frames += 1;
        self.bytes += bytes as u64;
    }

    pub(crate) fn frames(&self) -> u64 {
        self.frames
    }

    /// Bytes of all frames.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// For each percent of the time, 256ths of the file, which starts with a tag frame of
    /// `tag_bytes`.
    pub(crate) fn toc(&self, tag_bytes: usize) -> [u8; 100] {
        let total = (self.bytes + tag_bytes as u64).max(1);
        std::array::from_fn(|percent| {
            let frame = percent as u64 * self.frames / 100;
            let nearest = (frame / self.spacing) as usize;
            let offset = self.offsets.get(nearest).or(self.offsets.last()).copied().unwrap_or(0);
            // The first entry stands for the start of the file, whatever is there.
            let offset = if percent == 0 { 0 } else { offset + tag_bytes as u64 };
            (offset * 256 / total).min(255) as u8
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seek_table_stays_small_and_close() {
        let mut table = SeekTable::new();
        let frames = 1_000_000_u64;
        for frame in 0..frames {
            table.push(if frame < frames / 2 { 100 } else { 300 });
        }
        assert!(table.offsets.len() <= SeekTable::CAPACITY);
        let toc = table.toc(0);
        // Half of the time is a quarter of the bytes.
        assert!(toc[50].abs_diff(64) <= 1 && toc[75].abs_diff(160) <= 1 && toc[0] == 0);
        assert!(toc.is_sorted());
    }
}
