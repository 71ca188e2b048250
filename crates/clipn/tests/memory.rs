//! Memory use of readers, whatever a file declares.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use clipn::checkpoint::{Checkpoint, CheckpointError};
use clipn::image::{DecodeOptions, ImageError, decode_bytes};
use clipn_testing::fixture;
use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Locks out other tests, whose allocations would be counted too.
fn lock() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    LOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the result of `read`, and the peak of the bytes that it allocated.
fn taken<T>(read: impl FnOnce() -> T) -> (T, usize) {
    MEMORY.reset_peak_usage();
    let before = MEMORY.current_usage();
    let read = read();
    (read, MEMORY.peak_usage().saturating_sub(before))
}

/// Opens weights, and checks the limit of 16 MiB plus twice the file size.
#[track_caller]
fn opened(bytes: Vec<u8>) -> Result<Checkpoint, CheckpointError> {
    let limit = 2 * bytes.len() + (16 << 20);
    let (opened, taken) = taken(|| Checkpoint::from_bytes(Path::new("weights"), bytes));
    assert!(
        taken <= limit,
        "{taken} bytes allocated, expected at most {limit}"
    );
    opened
}

/// Returns a file in the format before PyTorch 1.6 with this pickle as its object.
fn legacy(object: &[u8]) -> Vec<u8> {
    const HEAD: &[u8] =
        b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}X\r\x00\x00\x00little_endian\x88s.";
    [HEAD, b"\x80\x02", object, b".\x80\x02]."].concat()
}

#[test]
fn a_tiff_tag_allocates_nothing_for_missing_values() {
    let _lock = lock();
    let mut bytes = std::fs::read(fixture("hostile/many_values.tif")).unwrap();
    let count = 22 + 4;
    assert_eq!(bytes[count..count + 4], [1, 0, 0x2e, 0]);
    for claimed in [0x002e_0001, 0x0fff_ffff, u32::MAX] {
        bytes[count..count + 4].copy_from_slice(&claimed.to_le_bytes());
        let (decoded, taken) = taken(|| decode_bytes(&bytes, &DecodeOptions::faithful()));
        assert!(
            matches!(decoded, Err(ImageError::Corrupt { .. })),
            "{decoded:?}"
        );
        assert!(taken < 1 << 20, "{claimed} values: {taken} bytes");
    }
}

#[test]
fn a_webp_frame_allocates_no_more_than_its_canvas() {
    let _lock = lock();
    for name in [
        "frame_beyond_canvas.webp",
        "frame_beyond_canvas_with_alpha.webp",
    ] {
        let bytes = std::fs::read(fixture(&format!("hostile/{name}"))).unwrap();
        let (decoded, taken) = taken(|| decode_bytes(&bytes, &DecodeOptions::faithful()));
        assert!(
            matches!(decoded, Err(ImageError::Corrupt { .. })),
            "{decoded:?}"
        );
        assert!(taken < 1 << 20, "{taken} bytes");
    }
}

#[test]
fn memory_of_images_is_bounded_by_their_pixels() {
    let _lock = lock();
    let folder = fixture("image");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        let (decoded, taken) = taken(|| decode_bytes(&bytes, &DecodeOptions::faithful()));
        let Ok(image) = decoded else { continue };
        let limit = image.pixels().len() * 16 + 2 * bytes.len() + (1 << 20);
        assert!(
            taken <= limit,
            "{taken} bytes for {}×{}",
            image.width(),
            image.height()
        );
        seen += 1;
    }
    assert!(seen > 50, "{seen}");
}

#[test]
fn rejects_a_pickle_of_many_small_objects() {
    let _lock = lock();
    const MANY: usize = 250_000;
    // A list of empty lists, of texts, a stack of marks, memoized values, tuples of nothing.
    let objects: [&[u8]; 5] = [b"]", b"X\x00\x00\x00\x00", b"(", b"N\x94", b"}"];
    for object in objects {
        let pickle = [&b"]("[..], &object.repeat(MANY), b"e"].concat();
        assert!(opened(legacy(&pickle)).is_err(), "{object:?}");
    }
    let nested = [&b"]"[..], &b"]a".repeat(90)].concat();
    assert!(opened(legacy(&nested)).is_err());
}

#[test]
fn limits_repetition_of_shared_objects() {
    let _lock = lock();
    // Each list contains the previous one ten times.
    let mut pickle = b"]q\x00(NNNNNNNNNNe".to_vec();
    for level in 1u8..12 {
        pickle.extend([b'0', b']', b'q', level, b'(']);
        pickle.extend([b'h', level - 1].repeat(10));
        pickle.push(b'e');
    }
    assert!(matches!(
        opened(legacy(&pickle)),
        Err(CheckpointError::TooLarge { .. })
    ));
}

#[test]
fn memory_of_a_header_is_bounded_by_the_file_size() {
    let _lock = lock();
    let file = |tensors: usize| {
        let entry = |i| {
            format!(
                r#""{i}":{{"dtype":"U8","shape":[],"data_offsets":[{i},{}]}}"#,
                i + 1
            )
        };
        let header = format!(
            "{{{}}}",
            (0..tensors).map(entry).collect::<Vec<_>>().join(",")
        );
        let header = header.clone() + &" ".repeat(header.len().next_multiple_of(8) - header.len());
        [
            &(header.len() as u64).to_le_bytes()[..],
            header.as_bytes(),
            &vec![0; tensors],
        ]
        .concat()
    };
    assert_eq!(opened(file(5_000)).unwrap().len(), 5_000);
    assert!(matches!(
        opened(file(50_000)),
        Err(CheckpointError::TooLarge { .. })
    ));
}

#[test]
fn real_files_are_within_the_limit() {
    let _lock = lock();
    for name in [
        "formats_zip.pt",
        "formats_legacy.pt",
        "openai_style_jit.pt",
        "plain_clip.pt",
    ] {
        opened(std::fs::read(fixture(&format!("checkpoint/{name}"))).unwrap()).unwrap();
    }
    opened(
        std::fs::read(fixture(
            "models/clipn-tiny-realvocab/model_fp16.safetensors",
        ))
        .unwrap(),
    )
    .unwrap();
}
