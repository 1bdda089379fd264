//! Objects in a folder, read in order, in jumps, and after their end.

use super::*;
use crate::control::Stop;
use tonemill_job::JobId;
use tonemill_job::objects::FolderStore;

/// An object of `len` bytes in a folder, and a reader.
struct Shelf {
    runtime: tokio::runtime::Runtime,
    _folder: tempfile::TempDir,
    store: Arc<dyn ObjectStore>,
    key: ObjectKey,
    bytes: Vec<u8>,
}

impl Shelf {
    fn new(len: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let store: Arc<dyn ObjectStore> = Arc::new(FolderStore::new(folder.path()));
        let key = ObjectKey::upload(JobId::new());
        let mut random = fastrand::Rng::with_seed(len as u64);
        let bytes: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(len).collect();
        runtime.block_on(async {
            let mut upload = store.create(&key, "video/mp4", 0).await.unwrap();
            upload.write(Bytes::from(bytes.clone())).await.unwrap();
            upload.finish(Bytes::new()).await.unwrap();
        });
        Self { runtime, _folder: folder, store, key, bytes }
    }

    fn input(&self, control: &Control) -> Arc<Input> {
        let info = self.runtime.block_on(self.store.head(&self.key)).unwrap();
        let (store, key) = (Arc::clone(&self.store), self.key.clone());
        Input::new(store, key, &info, control.clone(), self.runtime.handle().clone())
    }
}

fn read_all(reader: &mut RangeReader) -> Vec<u8> {
    let mut all = Vec::new();
    reader.read_to_end(&mut all).unwrap();
    all
}

#[test]
fn reading_in_order_fetches_each_byte_once_in_long_ranges() {
    for len in [1, 1 << 16, 1 << 20, (1 << 20) + 1, 30_000_000] {
        let shelf = Shelf::new(len);
        let input = shelf.input(&Control::default());
        assert!(read_all(&mut RangeReader::new(Arc::clone(&input))) == shelf.bytes, "{len}");
        let (bytes, requests) = input.fetched();
        assert_eq!(bytes, len as u64);
        assert!(requests <= 4 + len as u64 / LONGEST_BYTES, "{len}: {requests}");
    }
}

#[test]
fn an_index_at_the_end_is_read_without_reading_anything_twice() {
    let shelf = Shelf::new(20_000_000);
    let input = shelf.input(&Control::default());
    let mut reader = RangeReader::new(Arc::clone(&input));
    let mut head = [0; 32];
    reader.read_exact(&mut head).unwrap();
    reader.seek(SeekFrom::End(-700_000)).unwrap();
    let index = read_all(&mut reader);
    assert!(index == shelf.bytes[shelf.bytes.len() - 700_000..]);
    reader.seek(SeekFrom::Start(32)).unwrap();
    let mut media = vec![0; shelf.bytes.len() - 700_000 - 32];
    reader.read_exact(&mut media).unwrap();
    assert!(media == shelf.bytes[32..shelf.bytes.len() - 700_000]);
    let (bytes, _) = input.fetched();
    let times = bytes as f64 / shelf.bytes.len() as f64;
    assert!(times < 1.01, "{times}");
}

#[test]
fn any_reads_and_seeks_give_the_bytes_of_the_object() {
    let shelf = Shelf::new(12_000_001);
    for seed in 0..8 {
        let mut random = fastrand::Rng::with_seed(seed);
        let input = shelf.input(&Control::default());
        let mut reader = RangeReader::new(Arc::clone(&input));
        for _ in 0..300 {
            let at = random.usize(..=shelf.bytes.len());
            reader.seek(SeekFrom::Start(at as u64)).unwrap();
            let mut buf = vec![0; random.usize(1..200_000)];
            let wanted = buf.len().min(shelf.bytes.len() - at);
            reader.read_exact(&mut buf[..wanted]).unwrap();
            assert!(buf[..wanted] == shelf.bytes[at..at + wanted], "{seed}");
            let kept: u64 = reader.kept.iter().map(|kept| kept.bytes.len() as u64).sum();
            assert!(kept <= KEPT_BYTES);
        }
    }
}

#[test]
fn a_stopped_attempt_reads_no_more_and_a_missing_object_is_an_error() {
    let shelf = Shelf::new(3_000_000);
    let control = Control::default();
    let input = shelf.input(&control);
    let mut reader = RangeReader::new(input);
    control.stop(Stop::Cancelled);
    assert!(reader.read(&mut [0; 8]).is_err());
    let input = shelf.input(&Control::default());
    shelf.runtime.block_on(shelf.store.delete(&shelf.key)).unwrap();
    let error = RangeReader::new(input).read(&mut [0; 8]).unwrap_err();
    assert!(crate::failure::store_error(&error).is_some(), "{error:?}");
}
