//! Images that need `--bands` or `--sample-bits`.

use serde_json::Value;

use crate::common::{Sandbox, library_fixture, text, with_model};

/// An image of the fixtures of odd images.
fn odd_image(name: &str) -> Vec<u8> {
    let folder = library_fixture("image_odd");
    let bytes = std::fs::read(folder.join("images.bin")).unwrap();
    let listed = std::fs::read_to_string(folder.join("expected.json")).unwrap();
    let listed: Vec<Value> = serde_json::from_str(&listed).unwrap();
    let mut start = 0;
    for entry in listed {
        let end = start + entry["length"].as_u64().unwrap() as usize;
        if entry["name"] == name {
            return bytes[start..end].to_vec();
        }
        start = end;
    }
    panic!("no {name}");
}

#[test]
fn images_that_need_a_flag_are_rejected_with_it() {
    let s = Sandbox::new();
    s.write("odd/bands.tif", odd_image("five_bands"));
    s.write("odd/dim.tif", odd_image("gray_12_of_16_bits"));
    s.write("odd/plain.tif", odd_image("rgb"));
    let classify = |flags: &[&str], image: &str| {
        let base = with_model("classify", &["--classes", "a,b", "--format", "json"]);
        s.clipn(&[&base[..], flags, &[image]].concat())
    };
    let output = classify(&[], "odd");
    let messages = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{messages}");
    assert!(
        messages.contains("2 of 3 images could not be classified"),
        "{messages}"
    );
    assert!(
        messages.contains("hint: name the bands of red, green and blue, such as --bands 3,2,1"),
        "{messages}"
    );
    assert!(
        messages.contains("hint: give --sample-bits 12"),
        "{messages}"
    );
    for (flags, image) in [
        (["--bands", "3,2,1"], "odd/bands.tif"),
        (["--sample-bits", "12"], "odd/dim.tif"),
        (["--pillow", "13"], "odd/plain.tif"),
    ] {
        let output = classify(&flags, image);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    }
    let output = classify(&["--bands", "1,2,9"], "odd/bands.tif");
    let messages = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{messages}");
    assert!(
        messages.contains("hint: give --bands that the image has"),
        "{messages}"
    );
}
