//! The logs of a training run: events equal TensorBoard's own, and `log.jsonl` survives kills and
//! resumes.

use std::path::{Path, PathBuf};

use clipn_testing::fixture;
use clipn_train::training_log::{
    EventFile, EventStream, JsonLog, LogRecord, TrainingLog, TrainingLogError, read_log,
};

fn record(step: u64) -> LogRecord {
    LogRecord {
        step,
        epoch: step / 10,
        samples: step * 32,
        losses: [("total", 1.0 / step as f64), ("tso", 0.25)]
            .map(|(n, v)| (n.to_owned(), v))
            .into(),
        lr: 3e-4,
        samples_per_second: 41.5,
        seconds: step as f64 * 0.75,
        time: 1.7e9 + step as f64,
    }
}

fn steps(path: &Path) -> Vec<u64> {
    read_log(path)
        .unwrap()
        .iter()
        .map(|record| record.step)
        .collect()
}

/// Writes a log of steps 1 to 5.
fn log_of_five_steps(dir: &Path) -> PathBuf {
    let path = dir.join("log.jsonl");
    let mut log = JsonLog::create(&path).unwrap();
    for step in 1..=5 {
        log.write(&record(step)).unwrap();
    }
    path
}

#[test]
fn events_equal_those_of_tensorboards_writer() {
    // The file was written by tensorboard 2.21's RecordWriter from the same events.
    let expected = std::fs::read(fixture("training_log/events.tfevents")).unwrap();
    let mut bytes = Vec::new();
    let mut stream = EventStream::new(&mut bytes, 1_700_000_000.25).unwrap();
    stream.restart(1_700_000_000.25, 301).unwrap();
    stream
        .scalars(1_700_000_001.5, 301, &[("loss/total", 2.5), ("lr", 3e-4)])
        .unwrap();
    let long = "a tag that is longer than one hundred and twenty-seven bytes, so that its length takes two bytes of a \
                varint and not only one: é, ok";
    stream
        .scalars(1_700_000_002.0, 1 << 40, &[(long, -1.0)])
        .unwrap();
    assert_eq!(bytes, expected);
}

#[test]
fn every_start_creates_its_own_event_file_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let paths: Vec<PathBuf> = (0..20)
        .map(|start| {
            EventFile::create(dir.path(), Some(start))
                .unwrap()
                .path()
                .to_owned()
        })
        .collect();
    assert!(paths.is_sorted_by(|a, b| a < b), "{paths:?}");
    assert!(
        paths
            .iter()
            .all(|path| path.to_str().unwrap().contains("tfevents"))
    );
}

#[test]
fn lines_are_json_objects_that_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = log_of_five_steps(dir.path());
    let text = std::fs::read_to_string(&path).unwrap();
    let first =
        r#"{"step":1,"epoch":0,"samples":32,"losses":{"total":1.0,"tso":0.25},"lr":0.0003,"#;
    assert!(text.starts_with(first), "{text}");
    assert_eq!(text.lines().count(), 5);
    assert_eq!(
        read_log(&path).unwrap(),
        (1..=5).map(record).collect::<Vec<_>>()
    );
}

#[test]
fn a_loss_that_is_not_finite_is_null() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.jsonl");
    let mut broken = record(7);
    broken.losses.insert("total".to_owned(), f64::NAN);
    JsonLog::create(&path).unwrap().write(&broken).unwrap();
    assert!(
        std::fs::read_to_string(&path)
            .unwrap()
            .contains(r#""total":null"#)
    );
    let read = read_log(&path).unwrap();
    assert!(read[0].losses["total"].is_nan());
    assert_eq!(read[0].losses["tso"], 0.25);
}

#[test]
fn a_new_run_does_not_change_the_log_of_another() {
    let dir = tempfile::tempdir().unwrap();
    let path = log_of_five_steps(dir.path());
    assert!(matches!(
        JsonLog::create(&path),
        Err(TrainingLogError::AlreadyExists { .. })
    ));
    assert!(matches!(
        TrainingLog::create(dir.path()),
        Err(TrainingLogError::AlreadyExists { .. })
    ));
    assert_eq!(steps(&path), [1, 2, 3, 4, 5]);
}

#[test]
fn resuming_truncates_the_steps_to_be_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let path = log_of_five_steps(dir.path());
    let mut log = JsonLog::resume(&path, 3).unwrap();
    assert_eq!(steps(&path), [1, 2, 3]);
    log.write(&record(4)).unwrap();
    assert_eq!(steps(&path), [1, 2, 3, 4]);
    drop(JsonLog::resume(&path, 100).unwrap());
    assert_eq!(steps(&path), [1, 2, 3, 4]);
    drop(JsonLog::resume(&path, 0).unwrap());
    assert_eq!(steps(&path), [0; 0]);
}

#[test]
fn a_log_cut_at_any_byte_can_be_resumed() {
    let dir = tempfile::tempdir().unwrap();
    let path = log_of_five_steps(dir.path());
    let whole = std::fs::read(&path).unwrap();
    for length in 0..=whole.len() {
        std::fs::write(&path, &whole[..length]).unwrap();
        let complete = whole[..length]
            .iter()
            .filter(|&&byte| byte == b'\n')
            .count() as u64;
        let mut log = JsonLog::resume(&path, 4).unwrap();
        log.write(&record(9)).unwrap();
        let expected: Vec<u64> = (1..=complete.min(4)).chain([9]).collect();
        assert_eq!(steps(&path), expected, "cut at {length}");
    }
}

#[test]
fn truncates_garbage_at_the_end_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let path = log_of_five_steps(dir.path());
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.extend_from_slice(b"\0\0\0\0\n\0\0\n");
    std::fs::write(&path, &bytes).unwrap();
    drop(JsonLog::resume(&path, 5).unwrap());
    assert_eq!(steps(&path), [1, 2, 3, 4, 5]);
}

#[test]
fn a_foreign_file_is_not_truncated() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.jsonl");
    for (text, line) in [
        ("{\"step\":1}\nmy notes\n{\"step\":2}\n{\"step\":3}\n", 2),
        ("my notes\nmore of them\n", 1),
    ] {
        std::fs::write(&path, text).unwrap();
        let error = JsonLog::resume(&path, 2).unwrap_err().to_string();
        assert!(
            error.contains(&format!("log.jsonl, line {line}: ")),
            "{error}"
        );
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
}

#[test]
fn names_a_directory_that_cannot_be_created() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    for error in [
        TrainingLog::create(file.join("run")).unwrap_err(),
        TrainingLog::resume(&file, 3).unwrap_err(),
    ] {
        assert!(error.to_string().contains("file"), "{error}");
    }
}

#[test]
fn a_run_writes_both_kinds_of_log() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    let mut log = TrainingLog::create(&run).unwrap();
    (1..=5).for_each(|step| log.write(&record(step)).unwrap());
    drop(log);
    let mut log = TrainingLog::resume(&run, 2).unwrap();
    log.write(&record(3)).unwrap();
    assert_eq!(steps(&run.join("log.jsonl")), [1, 2, 3]);

    let mut events: Vec<PathBuf> = std::fs::read_dir(run.join("tensorboard"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    events.sort();
    assert_eq!(events.len(), 2);
    let bytes = std::fs::read(&events[1]).unwrap();
    for tag in [
        "loss/total",
        "loss/tso",
        "lr",
        "epoch",
        "samples_per_second",
    ] {
        assert!(
            bytes
                .windows(tag.len())
                .any(|window| window == tag.as_bytes()),
            "{tag}"
        );
    }
    // The resumed file has a START event at step 3: field 2, then field 7 with a message of two
    // bytes.
    let start = [0x10, 3, 0x3a, 2, 8, 1];
    assert!(bytes.windows(start.len()).any(|window| window == start));
}
