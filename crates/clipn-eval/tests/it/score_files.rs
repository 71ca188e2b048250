//! Scores from files that any program may have written.

use proptest::prelude::*;

use clipn_eval::score_files::{
    ScoreFileError, ScoreSets, ScoreTableOptions, read_labeled_scores, read_score_list,
    read_score_table,
};
use clipn_eval::{MetricSettings, ScoreDirection, ScoreReport};
use clipn_ood::metrics::{FprConvention, RankedScores};

fn table(text: &str, options: &ScoreTableOptions) -> Result<ScoreSets, ScoreFileError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("scores.csv");
    std::fs::write(&path, text).unwrap();
    read_score_table(path, options)
}

#[test]
fn reads_the_forms_of_tables() {
    let expected = table(
        "dataset,score\nid,0.5\nnoise,-1e-3\nid,2\n",
        &Default::default(),
    )
    .unwrap();
    assert_eq!(expected.scores[0].id, [0.5, 2.0]);
    assert_eq!(expected.scores[0].ood, [[-0.001]]);
    for text in [
        "\u{feff}dataset;score\r\nid;0.5\r\nnoise;-0.001\r\nid;2.0\r\n",
        "dataset\tscore\nid\t0.5\nnoise\t-.001\nid\t2\n",
        "score,dataset\n\"0.5\", id\n-0.001,noise\n2,id\n",
        // The only column of numbers, whatever its name.
        "dataset,my value\nid,0.5\nnoise,-0.001\nid,2\n",
    ] {
        let found = table(text, &Default::default()).unwrap();
        assert_eq!(found.scores[0].id, expected.scores[0].id, "{text}");
        assert_eq!(found.scores[0].ood, expected.scores[0].ood, "{text}");
        assert_eq!(
            (found.id_name.as_str(), &found.ood_names[..]),
            ("id", &["noise".to_owned()][..])
        );
    }
}

#[test]
fn a_flag_beside_the_names_of_sets_says_which_are_known() {
    let text = "set,score,error,is_id\nanimals,0.9,,true\nnormal,0.2,,false\nknown,0.1,,false\nanimals,0.8,,true\n";
    let sets = table(text, &Default::default()).unwrap();
    assert_eq!(sets.id_name, "animals");
    assert_eq!(sets.ood_names, ["normal", "known"]);
    assert_eq!(sets.scores[0].id, [0.9, 0.8]);
    assert_eq!(sets.scores[0].ood, [[0.2], [0.1]]);
    assert_eq!(sets.set_column.as_deref(), Some("is_id, set"));
    // A set of the same name on both sides, and a column that is chosen.
    let sets = table(&text.replace("normal", "animals"), &Default::default()).unwrap();
    assert_eq!(
        (&sets.id_name[..], &sets.ood_names[0][..]),
        ("animals", "animals")
    );
    let chosen = ScoreTableOptions::default()
        .with_set_column(Some("set".to_owned()))
        .with_id_value(Some("animals".to_owned()));
    assert_eq!(table(text, &chosen).unwrap().ood_names, ["normal", "known"]);
    // The value says which column it is of.
    let of_set = ScoreTableOptions::default().with_id_value(Some("animals".to_owned()));
    assert_eq!(table(text, &of_set).unwrap().ood_names, ["normal", "known"]);
    let of_flag = ScoreTableOptions::default().with_id_value(Some("false".to_owned()));
    assert_eq!(table(text, &of_flag).unwrap().scores[0].id, [0.2, 0.1]);
    // A source may be that of one image, and a split be the same for all.
    let text = "source,split,score,is_ood\na,test,0.9,0\nb,test,0.2,1\nc,test,0.1,1\n";
    let sets = table(text, &Default::default()).unwrap();
    assert_eq!(
        (&sets.id_name[..], &sets.ood_names[..]),
        ("id", &["ood".to_owned()][..])
    );
}

#[test]
fn columns_that_contradict_each_other_are_an_error() {
    let text = "score,is_ood,ood\n0.9,0,0\n0.2,1,0\n0.1,1,1\n";
    let error = table(text, &ScoreTableOptions::default()).unwrap_err();
    let message = error.to_string();
    assert!(message.starts_with("line 3 of "), "{message}");
    assert!(message.contains("`is_ood` and `ood`"), "{message}");
    let chosen = ScoreTableOptions::default().with_set_column(Some("is_ood".to_owned()));
    assert_eq!(table(text, &chosen).unwrap().scores[0].id, [0.9]);
    // Columns that agree, in other words, or whose values are no flags.
    for text in [
        "score,is_ood,is_id\n0.9,0,true\n0.2,1,false\n",
        "score,is_ood,unknown\n0.9,0,3\n0.2,1,4\n",
    ] {
        assert_eq!(
            table(text, &ScoreTableOptions::default()).unwrap().scores[0].id,
            [0.9]
        );
    }
}

#[test]
fn decisions_are_no_ground_truth() {
    let text = "path,label,unknown,score,threshold,reason\n\
                a.jpg,cat,false,0.9,0.5,kept\n\
                b.jpg,unknown,true,0.1,0.5,rejected\n";
    let error = table(text, &Default::default()).unwrap_err();
    assert!(matches!(error, ScoreFileError::Decisions { .. }), "{error}");
    assert!(error.hint().unwrap().contains("is_ood"));
    // A column with the truth is taken, and so is the decision if it is named.
    let with_truth = text
        .replace("reason", "reason,is_ood")
        .replace("kept", "kept,1")
        .replace("rejected", "rejected,0");
    let sets = table(&with_truth, &Default::default()).unwrap();
    assert_eq!(
        (&sets.scores[0].id[..], &sets.scores[0].ood[0][..]),
        (&[0.1][..], &[0.9][..])
    );
    let named = ScoreTableOptions::default().with_set_column(Some("unknown".to_owned()));
    assert_eq!(table(text, &named).unwrap().scores[0].id, [0.9]);
}

#[test]
fn named_columns_are_taken_instead_of_known_ones() {
    let text = "set,label,score,other\nx,cat,1,5\ny,dog,2,6\n";
    let options = ScoreTableOptions::default()
        .with_score_columns(["other".to_owned()])
        .with_set_column(Some("label".to_owned()))
        .with_id_value(Some("dog".to_owned()));
    let sets = table(text, &options).unwrap();
    assert_eq!(
        (&sets.scores[0].id[..], &sets.scores[0].ood[0][..]),
        (&[6.0][..], &[5.0][..])
    );
    assert_eq!(sets.ood_names, ["cat"]);
}

#[test]
fn rows_without_scores_need_an_error() {
    let text = "set,msp,ctw,error\nid,0.5,0.6,\nid,,,broken.png: no image\nnoise,0.1,0.2,\n";
    let sets = table(text, &Default::default()).unwrap();
    assert_eq!((sets.skipped, sets.scores.len()), (1, 2));
    assert_eq!(sets.scores[1].id, [0.6]);
    let error = table("set,msp,error\nid,,\nnoise,0.1,\n", &Default::default()).unwrap_err();
    assert!(error.to_string().contains("line 2"), "{error}");
}

#[test]
fn both_directions_are_the_same_metrics() {
    let (id, ood) = (vec![0.9, 0.8, 0.8, 0.3], vec![0.8, 0.2]);
    let negated = |values: &[f64]| values.iter().map(|v| -v).collect::<Vec<_>>();
    let sets = |id: Vec<f64>, ood: Vec<f64>| {
        ScoreSets::from_lists(("a".to_owned(), id), vec![("b".to_owned(), ood)], "").unwrap()
    };
    let settings = MetricSettings::default().with_tprs([0.5]);
    let known = ScoreReport::compute(&sets(id.clone(), ood.clone()), &settings).unwrap();
    let unknown = ScoreReport::compute(
        &sets(negated(&id), negated(&ood)),
        &settings.with_higher_is(ScoreDirection::Unknown),
    )
    .unwrap();
    assert_eq!(known.results, unknown.results);
    let ranked = RankedScores::new(&id, &ood).unwrap();
    for (figure, convention) in known.results[0].metrics.fpr.iter().zip(FprConvention::ALL) {
        assert_eq!(figure.fpr, ranked.fpr_at_tpr(0.5, convention).unwrap());
        assert_eq!(figure.ties, ranked.fpr_range(0.5, convention).unwrap());
    }
    let json = serde_json::to_string(&known).unwrap();
    assert_eq!(serde_json::from_str::<ScoreReport>(&json).unwrap(), known);
}

#[test]
fn a_damaged_first_score_is_no_heading() {
    let dir = tempfile::tempdir().unwrap();
    let list = |text: &str| {
        let path = dir.path().join("a.txt");
        std::fs::write(&path, text).unwrap();
        read_score_list(&path)
    };
    assert_eq!(list("msp\n0.8\n0.7").unwrap(), [0.8, 0.7]);
    for damaged in ["0,9", "-.5x", "+1e", "1.2.3"] {
        let error = list(&format!("{damaged}\n0.8\n0.7"))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("line 1") && error.contains(damaged),
            "{error}"
        );
    }
}

/// Pieces of arrays and tables, and arbitrary bytes.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"\x93NUMPY\x01\x00".to_vec()),
        Just(b"\x76\x00{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }\n".to_vec()),
        Just(b"{'descr': '<f2', 'shape': (99999999999999999999,), ".to_vec()),
        Just(b"\x93NUMPY\x03\x00\xff\xff\xff\xff".to_vec()),
        Just(b"set,score,error\n".to_vec()),
        Just(b"id,0.5\n".to_vec()),
        Just(b"noise,nan,\n".to_vec()),
        Just(b"\"".to_vec()),
        prop::collection::vec(any::<u8>(), 0..40),
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn hostile_files_never_panic(bytes in hostile(), labels in hostile()) {
        let dir = tempfile::tempdir().unwrap();
        let (scores, labels_file) = (dir.path().join("scores"), dir.path().join("labels"));
        std::fs::write(&scores, bytes).unwrap();
        std::fs::write(&labels_file, labels).unwrap();
        if let Ok(values) = read_score_list(&scores) {
            prop_assert!(values.iter().all(|value| value.is_finite()));
        }
        let table = read_score_table(&scores, &ScoreTableOptions::default());
        let labeled = read_labeled_scores(&scores, &labels_file, Some("1"));
        for sets in [table, labeled].into_iter().flatten() {
            prop_assert!(ScoreReport::compute(&sets, &MetricSettings::default()).is_ok());
        }
    }
}
