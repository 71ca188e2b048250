#![no_main]

#[path = "support/memory.rs"]
mod memory;

use clipn::tokenizer::{MAX_CONTEXT_LENGTH, Tokenizer, VOCAB_SIZE, clean};

/// Repairs of a text are tried one after the other, each a copy of it.
const OF_BYTE: usize = 256;

/// Captions are shorter; each is gone over many times.
const LONGEST: usize = 1 << 12;

fn read(bytes: &[u8]) {
    let bytes = &bytes[..bytes.len().min(LONGEST)];
    let text = String::from_utf8_lossy(bytes);
    let tokenizer = Tokenizer::clip();
    let ids = tokenizer.encode(&text);
    assert!(ids.iter().all(|&id| (id as usize) < VOCAB_SIZE));
    for length in [0, 1, 77, MAX_CONTEXT_LENGTH] {
        let row = tokenizer.tokenize(&text, length);
        assert_eq!(row.len(), length);
    }
    let words: Vec<&[u32]> = tokenizer.words(&ids).collect();
    assert!(words.iter().all(|word| !word.is_empty()));
    let cleaned = clean(&text);
    assert!(!cleaned.contains("  "));
    let _ = tokenizer.decode(&ids);
    // Bytes as ids, of which many are none.
    let ids: Vec<u32> = bytes
        .as_chunks::<4>()
        .0
        .iter()
        .map(|id| u32::from_le_bytes(*id))
        .collect();
    let _ = tokenizer.decode(&ids);
}

libfuzzer_sys::fuzz_target!(
    init: drop(Tokenizer::clip().encode("a")),
    |bytes: &[u8]| memory::within(OF_BYTE * bytes.len() + (1 << 20), || read(bytes))
);
