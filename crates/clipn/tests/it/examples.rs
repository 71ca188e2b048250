//! The examples, on small images.

use std::path::PathBuf;

#[path = "../../examples/classify.rs"]
mod classify;
#[cfg(feature = "eval")]
#[path = "../../examples/evaluate.rs"]
mod evaluate;
#[path = "../../examples/own_tower.rs"]
mod own_tower;
#[cfg(feature = "train")]
#[path = "../../examples/train.rs"]
mod train;

/// A BMP of one color, 24 bits a pixel.
fn bmp([red, green, blue]: [u8; 3]) -> Vec<u8> {
    const SIDE: u32 = 8;
    let size = 3 * SIDE * SIDE;
    let mut bytes = b"BM".to_vec();
    let header = [
        54 + size,
        0,
        54,
        40,
        SIDE,
        SIDE,
        1 | 24 << 16,
        0,
        size,
        2835,
        2835,
        0,
        0,
    ];
    header
        .iter()
        .for_each(|number| bytes.extend(number.to_le_bytes()));
    bytes.extend([blue, green, red].repeat((SIDE * SIDE) as usize));
    bytes
}

#[test]
fn classify_writes_a_line_for_each_photo() {
    let folder = tempfile::tempdir().unwrap();
    let photo = |name: &str, content: &[u8]| -> PathBuf {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let photos = vec![
        photo("yellow.bmp", &bmp([250, 200, 20])),
        photo("text.jpg", b"not an image"),
        photo("gray.bmp", &bmp([128; 3])),
    ];
    let names = ["school bus", "pizza"];
    let detector = classify::built_in(&names).unwrap();
    let mut out = Vec::new();
    classify::classify(&detector, photos.clone(), &mut out).unwrap();
    let out = String::from_utf8(out).unwrap();
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 3, "{out}");
    for index in [0, 2] {
        let label = detector.detect_file(&photos[index]).unwrap();
        let expected = format!(
            "{}: {} (",
            photos[index].display(),
            label.label_or_unknown()
        );
        assert!(lines[index].starts_with(&expected), "{out}");
    }
    assert!(lines[1].contains("text.jpg: expected a JPEG"), "{out}");
}

#[test]
fn own_tower_encodes_what_can_be_read() {
    let row = |id, bytes| own_tower::Row { id, bytes };
    let rows = vec![
        row(7, bmp([250, 200, 20])),
        row(8, b"not an image".to_vec()),
        row(9, bmp([0, 0, 255])),
    ];
    let mut out = Vec::new();
    assert_eq!(own_tower::run(rows, &mut out).unwrap(), 2);
    let out = String::from_utf8(out).unwrap();
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 3, "{out}");
    assert!(
        lines[0].starts_with("row 7: ") && lines[2].starts_with("row 9: "),
        "{out}"
    );
    assert!(lines[1].starts_with("row 8: expected a JPEG"), "{out}");
}

/// Writes BMP images, and returns their paths.
#[cfg(any(feature = "eval", feature = "train"))]
fn images(folder: &std::path::Path, colors: &[[u8; 3]]) -> Vec<PathBuf> {
    std::fs::create_dir_all(folder).unwrap();
    let mut paths = Vec::new();
    for (index, &color) in colors.iter().enumerate() {
        let path = folder.join(format!("{index}.bmp"));
        std::fs::write(&path, bmp(color)).unwrap();
        paths.push(path);
    }
    paths
}

#[test]
#[cfg(feature = "eval")]
fn evaluate_measures_two_scores() {
    let folder = tempfile::tempdir().unwrap();
    let (id, ood) = (folder.path().join("id"), folder.path().join("ood"));
    images(&id.join("school bus"), &[[250, 200, 20], [240, 180, 0]]);
    images(&id.join("pizza"), &[[200, 60, 30]]);
    images(&ood, &[[0, 0, 255], [0, 255, 0]]);
    let results = evaluate::measure(&id, &ood).unwrap();
    assert!(results.accuracy.is_some());
    let scores: Vec<&str> = results.results.iter().map(|row| row.score).collect();
    assert_eq!(scores, ["atd", "msp"]);
    for row in &results.results {
        assert_eq!((row.n_id, row.n_ood), (3, 2));
        assert!((0.0..=1.0).contains(&row.auroc), "{row:?}");
    }
}

#[test]
#[cfg(feature = "train")]
fn train_writes_weights_that_classify() {
    use clipn::prelude::*;

    let folder = tempfile::tempdir().unwrap();
    let photos = images(
        &folder.path().join("photos"),
        &[[250, 200, 20], [0, 0, 255], [200, 60, 30], [0, 255, 0]],
    );
    let mut table = "filepath\ttitle\n".to_owned();
    for (photo, caption) in photos.iter().zip(["a bus", "the sea", "a pizza", "a lawn"]) {
        table += &format!("{}\t{caption}\n", photo.display());
    }
    let captions = folder.path().join("captions.tsv");
    std::fs::write(&captions, table).unwrap();
    let checkpoint = train::train(&captions, &folder.path().join("run"), 2).unwrap();
    let weights = PretrainedWeights::open(&checkpoint).unwrap();
    let bundle = Bundle::build(["school bus", "pizza"], &weights).unwrap();
    assert_eq!(bundle.classifier().len(), 2);
}
