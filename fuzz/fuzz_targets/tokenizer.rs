//! Text cleaning, tokenization and decoding.
#![no_main]

#[path = "support/memory.rs"]
mod memory;

use clipn_text::tokenizer::{MAX_CONTEXT_LENGTH, Tokenizer, VOCAB_SIZE, clean};

/// Maximum memory per byte of input: repairs of a text are tried one after another, each on a copy.
const MEMORY_PER_BYTE: usize = 256;

/// Maximum text length in bytes: captions are shorter, and a text is scanned many times.
const MAX_TEXT_BYTES: usize = 1 << 12;

fn read(bytes: &[u8]) {
    let bytes = &bytes[..bytes.len().min(MAX_TEXT_BYTES)];
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
    // The bytes as token ids, many of them invalid.
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
    |bytes: &[u8]| memory::within_memory_limit(MEMORY_PER_BYTE * bytes.len() + (1 << 20), || read(bytes))
);
