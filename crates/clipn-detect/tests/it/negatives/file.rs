use std::collections::BTreeMap;

use clipn_checkpoint::{Checkpoint, Tensor, write_safetensors};
use clipn_detect::negatives::choice::Grouping;
use clipn_detect::negatives::{Negatives, NegativesError, NegativesOrigin, TemplateJoin};
use clipn_model::{Real, normalize_row};
use clipn_testing::random::Random;

const DIM: usize = 24;

fn origin() -> NegativesOrigin {
    NegativesOrigin::user_list(Vec::new(), TemplateJoin::default(), Grouping::Single)
}

fn words(count: usize) -> Vec<String> {
    (0..count).map(|i| format!("word {i}")).collect()
}

fn rows<T: Real>(count: usize) -> Vec<T> {
    let mut rows = Random::new(3).values(count * DIM, 1.0);
    rows.chunks_exact_mut(DIM).for_each(normalize_row);
    rows
}

fn negatives<T: Real>() -> Negatives<T> {
    Negatives::new(words(5), &rows(5), vec![2, 5], origin()).unwrap()
}

#[test]
fn rows_have_the_same_bits_before_and_after_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("negatives.safetensors");
    let fresh: Negatives = negatives();
    fresh.save(&path).unwrap();
    let read = Negatives::open(&path).unwrap();
    assert_eq!(read, fresh);
    assert!(
        read.rows()
            .iter()
            .zip(fresh.rows())
            .all(|(a, b)| a.to_bits() == b.to_bits())
    );
    // Rows are those given, to the precision of f16.
    for (found, given) in fresh.rows().iter().zip(rows::<f32>(5)) {
        assert!((found - given).abs() < 5e-4, "{found} {given}");
    }
    let wide: Negatives<f64> = Negatives::open(&path).unwrap();
    assert_eq!(wide.rows(), negatives::<f64>().rows());
}

#[test]
fn a_bundle_can_hold_the_tensors_under_a_prefix() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bundle.safetensors");
    let fresh: Negatives = negatives();
    let json = serde_json::to_string(&fresh.metadata()).unwrap();
    write_safetensors(&path, fresh.to_tensors("shop").unwrap(), &BTreeMap::new()).unwrap();
    let checkpoint = Checkpoint::open(&path).unwrap();
    let metadata = serde_json::from_str(&json).unwrap();
    assert_eq!(
        Negatives::from_tensors(&checkpoint, "shop", metadata).unwrap(),
        fresh
    );
    let error = Negatives::<f32>::from_tensors(&checkpoint, "other", fresh.metadata()).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("are corrupt: other.rows is missing"),
        "{error}"
    );
    // Another file is no file of negatives.
    let error = Negatives::<f32>::open(&path).unwrap_err();
    assert!(
        matches!(error, NegativesError::NotNegatives { .. }),
        "{error}"
    );
}

#[test]
fn rejects_invalid_negatives() {
    let message = |words: Vec<String>, rows: &[f32], ends: Vec<usize>| {
        Negatives::new(words, rows, ends, origin())
            .unwrap_err()
            .to_string()
    };
    let good: Vec<f32> = rows(5);
    assert_eq!(
        message(Vec::new(), &[], vec![]),
        "no negative words: 0 candidates, 0 chosen"
    );
    assert_eq!(
        message(words(7), &good, vec![7]),
        "expected 7 rows of dimension 17 for the negatives, got 120 values"
    );
    for (ends, reason) in [
        (vec![], "the last group ends at 0"),
        (vec![2], "the last group ends at 2"),
        (vec![2, 2, 5], "group 1 ends at 2, expected 3 to 5"),
        (vec![2, 6], "group 1 ends at 6, expected 3 to 5"),
        (vec![1, 5], "sizes from 1 to 4 differ by more than one"),
    ] {
        assert_eq!(
            message(words(5), &good, ends),
            format!("invalid groups of 5 negatives: {reason}")
        );
    }
    for value in [f32::NAN, f32::INFINITY, 1e9, 0.0] {
        let mut bad = good.clone();
        bad[3 * DIM..4 * DIM].fill(value);
        assert_eq!(
            message(words(5), &bad, vec![5]),
            "text features of the word `word 3` are not finite or zero"
        );
    }
}

#[test]
fn damaged_files_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("negatives.safetensors");
    negatives::<f32>().save(&path).unwrap();
    let whole = std::fs::read(&path).unwrap();
    for length in 0..whole.len() {
        Negatives::<f32>::from_bytes(&path, whole[..length].to_vec()).unwrap_err();
    }
    let description = Checkpoint::open(&path).unwrap().metadata()["negatives"].clone();
    let write = |description: &str, tensors: Vec<(String, Tensor)>| {
        let metadata = BTreeMap::from([("negatives".to_owned(), description.to_owned())]);
        write_safetensors(&path, tensors, &metadata).unwrap();
        Negatives::<f32>::open(&path).unwrap_err().to_string()
    };
    let tensors = || negatives::<f32>().to_tensors("negatives").unwrap();
    let later = write(
        &description.replace("\"version\":1", "\"version\":2"),
        tensors(),
    );
    assert!(later.contains("unsupported version"), "{later}");
    let no_json = write("{}", tensors());
    assert!(no_json.contains("invalid description"), "{no_json}");
    let fewer_words = write(
        &description.replace("\"word 4\"", "\"word 4\",\"word 5\""),
        tensors(),
    );
    assert!(
        fewer_words.contains("expected rows for 6 words, got [5, 24]"),
        "{fewer_words}"
    );
    let mut ends = tensors();
    ends[1].1 = Tensor::from_i64(&[2], &[-1, 5]).unwrap();
    let negative = write(&description, ends);
    assert!(negative.contains("group ends at -1"), "{negative}");
    let mut wide = tensors();
    wide[0].1 = Tensor::from_f32(&[5, DIM], rows::<f32>(5)).unwrap();
    let wide = write(&description, wide);
    assert!(
        wide.contains("got F32 [5, 24]") || wide.contains("got f32 [5, 24]"),
        "{wide}"
    );
}
