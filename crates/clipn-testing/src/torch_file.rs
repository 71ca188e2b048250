//! Writes weights in the formats of `torch.save` and `torch.jit.save`.
#![allow(clippy::unwrap_used)]

use std::io::{Cursor, Write};

use clipn_checkpoint::{Dtype, Tensor};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// Creates a zip archive of uncompressed entries.
pub fn zip(entries: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut to = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, bytes) in entries {
        to.start_file(name.as_str(), stored).unwrap();
        to.write_all(bytes).unwrap();
    }
    to.finish().unwrap().into_inner()
}

/// Creates a `pytorch_model.bin`: a dictionary of tensors, each with its own storage.
pub fn state_dict(tensors: &[(String, Tensor)]) -> Vec<u8> {
    let mut pickle = b"\x80\x02}(".to_vec();
    let mut entries = Vec::new();
    for (key, (name, tensor)) in tensors.iter().enumerate() {
        text(&mut pickle, name);
        rebuild(&mut pickle, &key.to_string(), tensor);
        entries.push((format!("archive/data/{key}"), tensor.bytes().to_vec()));
    }
    pickle.extend(b"u.");
    entries.insert(0, ("archive/data.pkl".to_owned(), pickle));
    entries.push(("archive/byteorder".to_owned(), b"little".to_vec()));
    zip(&entries)
}

/// Creates a TorchScript archive from the pickle of its object and its storages.
pub fn script(pickle: &[u8], storages: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut entries = vec![
        ("m/data.pkl".to_owned(), pickle.to_vec()),
        ("m/constants.pkl".to_owned(), b"\x80\x02).".to_vec()),
        (
            "m/code/__torch__.py".to_owned(),
            b"class M(Module):\n".to_vec(),
        ),
    ];
    entries.extend(
        storages
            .iter()
            .map(|(key, bytes)| (format!("m/data/{key}"), bytes.clone())),
    );
    zip(&entries)
}

/// Appends a string to a pickle (opcode `BINUNICODE`).
pub fn text(pickle: &mut Vec<u8>, text: &str) {
    pickle.push(b'X');
    pickle.extend((text.len() as u32).to_le_bytes());
    pickle.extend(text.as_bytes());
}

/// Appends an integer to a pickle (opcode `BININT`).
pub fn int(pickle: &mut Vec<u8>, value: usize) {
    pickle.push(b'J');
    pickle.extend((value as i32).to_le_bytes());
}

/// Appends the call of `_rebuild_tensor_v2` for a tensor in the storage `key`.
pub fn rebuild(pickle: &mut Vec<u8>, key: &str, tensor: &Tensor) {
    let class = match tensor.dtype() {
        Dtype::F16 => "HalfStorage",
        Dtype::F32 => "FloatStorage",
        Dtype::I64 => "LongStorage",
        other => panic!("unsupported dtype {other}"),
    };
    pickle.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
    text(pickle, "storage");
    pickle.extend(format!("ctorch\n{class}\n").bytes());
    text(pickle, key);
    text(pickle, "cpu");
    int(pickle, tensor.len());
    pickle.extend(b"tQK\x00(");
    let mut strides = vec![1; tensor.shape().len()];
    for axis in (1..strides.len()).rev() {
        strides[axis - 1] = strides[axis] * tensor.shape()[axis];
    }
    tensor.shape().iter().for_each(|&size| int(pickle, size));
    pickle.extend(b"t(");
    strides.iter().for_each(|&stride| int(pickle, stride));
    pickle.extend(b"t\x89}tR");
}
