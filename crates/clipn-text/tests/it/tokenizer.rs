//! Tests of the tokenizer against the published one: token ids and cleaned texts.

use proptest::prelude::*;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use clipn_testing::fixture;
use clipn_text::tokenizer::{
    CONTEXT_LENGTH, END_OF_TEXT, MAX_CONTEXT_LENGTH, START_OF_TEXT, TokenBatch, Tokenizer,
    VOCAB_SIZE, clean, end_of_text_position,
};

#[derive(Deserialize)]
struct Cases<T> {
    cases: Vec<T>,
}

#[derive(Deserialize)]
struct Case {
    text: String,
    cleaned: String,
    ids: Vec<u32>,
    n_bpe: usize,
    argmax: usize,
}

#[derive(Deserialize)]
struct Prompt {
    text: String,
    ids: Vec<u32>,
}

#[derive(Deserialize)]
struct Repair {
    text: String,
    cleaned: String,
    ids: Vec<u32>,
}

#[derive(Deserialize)]
struct Quirks {
    context: Vec<Truncation>,
}

#[derive(Deserialize)]
struct Truncation {
    text: String,
    context_length: usize,
    ids: Vec<u32>,
}

fn read<T: DeserializeOwned>(name: &str) -> T {
    let text = std::fs::read_to_string(fixture(&format!("tokenizer/{name}"))).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn padded(mut ids: Vec<u32>) -> Vec<u32> {
    ids.resize(CONTEXT_LENGTH, 0);
    ids
}

#[test]
fn unusual_strings_have_the_published_ids() {
    let cases = read::<Cases<Case>>("tokens.json").cases;
    assert_eq!(cases.len(), 445);
    let tokenizer = Tokenizer::clip();
    for case in cases {
        assert_eq!(clean(&case.text), case.cleaned, "{:?}", case.text);
        let row = tokenizer.tokenize(&case.text, CONTEXT_LENGTH);
        assert_eq!(row, padded(case.ids), "{:?}", case.text);
        assert_eq!(
            tokenizer.encode(&case.text).len(),
            case.n_bpe,
            "{:?}",
            case.text
        );
        assert_eq!(end_of_text_position(&row), case.argmax, "{:?}", case.text);
    }
}

/// Random mojibake, entities and rare characters; expected values from ftfy 6.3.1, Python's `html`
/// and `regex`.
#[test]
fn repairs_broken_texts_like_ftfy() {
    let cases = read::<Cases<Repair>>("repairs.json").cases;
    assert!(cases.len() > 500);
    for case in cases {
        assert_eq!(clean(&case.text), case.cleaned, "{:?}", case.text);
        assert_eq!(
            Tokenizer::clip().encode(&case.text),
            case.ids,
            "{:?}",
            case.text
        );
    }
}

#[test]
fn prompts_have_the_published_ids() {
    let prompts = read::<Cases<Prompt>>("prompts.json").cases;
    assert_eq!(prompts.len(), 2152);
    let texts: Vec<&str> = prompts.iter().map(|prompt| prompt.text.as_str()).collect();
    let batch = Tokenizer::clip().tokenize_batch(&texts, CONTEXT_LENGTH);
    assert_eq!(
        (batch.len(), batch.context_length()),
        (2152, CONTEXT_LENGTH)
    );
    for (row, prompt) in batch.rows().zip(prompts) {
        assert_eq!(row, padded(prompt.ids), "{:?}", prompt.text);
    }
}

#[test]
fn truncates_long_texts_at_any_context_length() {
    let cases = read::<Quirks>("quirks.json").context;
    assert_eq!(cases.len(), 15);
    for case in cases {
        assert_eq!(
            Tokenizer::clip().tokenize(&case.text, case.context_length),
            case.ids,
            "{:?}",
            case.text
        );
    }
}

#[test]
fn handles_context_lengths_without_room_for_text() {
    let tokenizer = Tokenizer::clip();
    assert_eq!(tokenizer.tokenize("cat", 2), [START_OF_TEXT, END_OF_TEXT]);
    assert_eq!(tokenizer.tokenize("cat", 1), [END_OF_TEXT]);
    assert!(tokenizer.tokenize("cat", 0).is_empty());
    let batch = tokenizer.tokenize_batch(&["a", "b"], 0);
    assert_eq!(
        (batch.len(), batch.context_length(), batch.ids()),
        (2, 0, &[][..])
    );
    assert_eq!(batch.rows().collect::<Vec<_>>(), [&[] as &[u32]; 2]);
    assert_eq!(
        tokenizer.tokenize("cat", usize::MAX).len(),
        MAX_CONTEXT_LENGTH
    );
}

#[test]
fn a_batch_has_one_row_per_text() {
    let batch = Tokenizer::clip().tokenize_batch(&["a cat", "dog"], 5);
    assert_eq!(batch.row(0), Some(&[49406, 320, 2368, 49407, 0][..]));
    assert_eq!(batch.row(1), Some(&[49406, 1929, 49407, 0, 0][..]));
    assert_eq!(batch.check_vocabulary(), Ok(()));
    assert!(
        Tokenizer::clip()
            .tokenize_batch(&[] as &[&str], 77)
            .is_empty()
    );
}

#[test]
fn decodes_ids_to_text() {
    let tokenizer = Tokenizer::clip();
    let row = tokenizer.tokenize("A photo of a CAFÉ, isn't it?", CONTEXT_LENGTH);
    assert_eq!(tokenizer.decode(&row), "a photo of a café , isn 't it ?");
    assert_eq!(
        tokenizer.decode(&tokenizer.tokenize("cat <end_of_text> dog", CONTEXT_LENGTH)),
        "cat"
    );
    assert_eq!(tokenizer.decode(&[]), "");
    assert_eq!(
        tokenizer.decode(&[u32::MAX, VOCAB_SIZE as u32, 2368]),
        "cat"
    );
}

/// Compares every token with an independent implementation of the same vocabulary.
#[test]
fn every_token_agrees_with_another_implementation() {
    let (ours, theirs) = (Tokenizer::clip(), instant_clip_tokenizer::Tokenizer::new());
    let mut compared = 0;
    for id in 0..START_OF_TEXT {
        let text = ours.decode(&[id]);
        let token = instant_clip_tokenizer::Token::from_u16(id as u16, &theirs).unwrap();
        assert_eq!(text, theirs.decode([token]).trim_end_matches(' '), "{id}");
        // Skip tokens that are not valid text by themselves or that cleaning changes.
        if !text.contains('\u{FFFD}') && clean(&text) == text {
            let mut expected = Vec::new();
            theirs.encode(&text, &mut expected);
            let expected: Vec<u32> = expected
                .iter()
                .map(|token| u32::from(token.to_u16()))
                .collect();
            assert_eq!(ours.encode(&text), expected, "{text:?}");
            compared += 1;
        }
    }
    assert!(compared > 47_000, "{compared}");
}

#[test]
fn encodes_very_long_texts_quickly() {
    let start = std::time::Instant::now();
    let tokenizer = Tokenizer::clip();
    assert!(tokenizer.encode(&"a".repeat(300_000)).len() > 10_000);
    for text in [
        "é".repeat(100_000),
        "Ã©".repeat(50_000),
        "Ã ".repeat(50_000),
        "&amp".repeat(50_000),
        "&".repeat(100_000),
    ] {
        assert_eq!(
            tokenizer.tokenize(&text, CONTEXT_LENGTH).len(),
            CONTEXT_LENGTH
        );
    }
    assert!(start.elapsed().as_secs() < 30, "{:?}", start.elapsed());
}

/// Generates text from the pieces that cleaning and splitting treat specially.
fn unusual_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("&amp;"),
        Just("&lt"),
        Just("&#x1F600;"),
        Just("&#"),
        Just("&"),
        Just(";"),
        Just("<"),
        Just("\n"),
        Just("<end_of_text>"),
        Just("<start_of_text>"),
        Just("'s"),
        Just("'LL"),
        Just("Ã©"),
        Just("â€™"),
        Just("Ã "),
        Just("ðŸ˜€"),
        Just("\u{FFFD}"),
        Just("\u{1A}"),
        Just("\u{80}"),
        Just("√©"),
        Just("í\u{a0}½í¸\u{80}"),
        Just("À\u{80}"),
        Just("ſ"),
        Just("İ"),
        Just("Σ"),
        Just("\u{345}"),
        Just("ﬁ"),
        Just("１"),
        Just("\u{1b}[1m"),
        Just("\u{3000}"),
        Just("Ⅷ"),
        Just("½"),
        Just("word"),
        Just(" "),
        Just("？"),
        Just("\u{85}"),
        Just("вЂ"),
        Just("ā€"),
    ];
    prop::collection::vec(
        prop_oneof![piece.prop_map(str::to_owned), any::<String>()],
        0..12,
    )
    .prop_map(|all| all.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_text_fills_a_row(text in unusual_text(), context_length in 0usize..90) {
        let tokenizer = Tokenizer::clip();
        let ids = tokenizer.encode(&text);
        prop_assert!(ids.iter().all(|&id| (id as usize) < VOCAB_SIZE));
        let row = tokenizer.tokenize(&text, context_length);
        prop_assert_eq!(row.len(), context_length);
        if context_length >= 2 {
            prop_assert_eq!(row[0], START_OF_TEXT);
            let kept = ids.len().min(context_length - 2);
            prop_assert_eq!(&row[1..=kept], &ids[..kept]);
            prop_assert_eq!(row[kept + 1], END_OF_TEXT);
            prop_assert!(row[kept + 2..].iter().all(|&id| id == 0));
            prop_assert!(end_of_text_position(&row) <= kept + 1);
        }
        let _ = tokenizer.decode(&ids);
    }

    #[test]
    fn cleaned_text_is_lower_case_with_single_spaces(text in unusual_text()) {
        let cleaned = clean(&text);
        prop_assert_eq!(cleaned.trim(), &cleaned);
        prop_assert!(!cleaned.contains("  ") && !cleaned.contains(['\t', '\n', '\r']));
        prop_assert_eq!(cleaned.to_lowercase(), cleaned);
    }

    #[test]
    fn words_survive_encoding_and_decoding(words in prop::collection::vec("[a-z]{1,12}", 0..20)) {
        let text = words.join(" ");
        prop_assert_eq!(Tokenizer::clip().decode(&Tokenizer::clip().encode(&text)), text);
    }

    #[test]
    fn any_ids_can_be_decoded(
        ids in prop::collection::vec(prop_oneof![any::<u32>(), 0u32..49_500], 0..40),
    ) {
        let _ = Tokenizer::clip().decode(&ids);
        prop_assert!(end_of_text_position(&ids) < ids.len().max(1));
    }

    #[test]
    fn batches_have_whole_rows_or_are_rejected(n in 0usize..200, context_length in 0usize..20) {
        match TokenBatch::new(vec![7; n], context_length) {
            Ok(batch) => {
                prop_assert_eq!(batch.len() * context_length, n);
                prop_assert_eq!(batch.rows().map(<[u32]>::len).sum::<usize>(), n);
            }
            Err(_) => prop_assert!(context_length == 0 || n % context_length != 0),
        }
    }
}
