//! Writes directories in the format of `torch.distributed.checkpoint`.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use clipn_checkpoint::{Dtype, Tensor};

use crate::torch_file::{int, rebuild, text, zip};

/// A chunk as the metadata list it; nothing is checked.
#[derive(Debug, Clone)]
pub struct ListedChunk {
    /// Name of the tensor.
    pub name: String,
    /// PyTorch's name of the element type.
    pub dtype: &'static str,
    /// Shape of the whole tensor.
    pub shape: Vec<usize>,
    /// Offsets of the chunk in the tensor.
    pub offsets: Vec<usize>,
    /// Shape of the chunk.
    pub sizes: Vec<usize>,
    /// File name.
    pub file: String,
    /// First byte in the file.
    pub start: usize,
    /// Number of bytes.
    pub len: usize,
}

/// Writes tensors to a directory, each split by its rows over `ranks` files.
pub fn write(directory: &Path, tensors: &[(String, Tensor)], ranks: usize) {
    std::fs::create_dir_all(directory).unwrap();
    let mut files = vec![Vec::new(); ranks];
    let mut listed = Vec::new();
    for (name, tensor) in tensors {
        let rows = tensor.shape().first().copied().unwrap_or(1);
        let per_rank = rows.div_ceil(ranks);
        for (rank, file) in files.iter_mut().enumerate() {
            let (start, end) = (rank * per_rank, (rank + 1) * per_rank);
            let (start, end) = (start.min(rows), end.min(rows));
            if start == end || (tensor.shape().is_empty() && rank > 0) {
                continue;
            }
            let mut sizes = tensor.shape().to_vec();
            let mut offsets = vec![0; sizes.len()];
            if let (Some(size), Some(offset)) = (sizes.first_mut(), offsets.first_mut()) {
                (*size, *offset) = (end - start, start);
            }
            let row = tensor.bytes().len() / rows;
            let bytes = tensor.bytes()[start * row..end * row].to_vec();
            let chunk = Tensor::from_bytes(tensor.dtype(), &sizes, bytes).unwrap();
            let archive = archive(&chunk);
            listed.push(ListedChunk {
                name: name.clone(),
                dtype: torch_name(tensor.dtype()),
                shape: tensor.shape().to_vec(),
                offsets,
                sizes,
                file: format!("__{rank}_0.distcp"),
                start: file.len(),
                len: archive.len(),
            });
            file.extend(archive);
        }
    }
    for (rank, file) in files.iter().enumerate() {
        std::fs::write(directory.join(format!("__{rank}_0.distcp")), file).unwrap();
    }
    std::fs::write(directory.join(".metadata"), metadata(&listed)).unwrap();
}

fn torch_name(dtype: Dtype) -> &'static str {
    match dtype {
        Dtype::F32 => "float32",
        Dtype::F16 => "float16",
        Dtype::I64 => "int64",
        other => panic!("unsupported dtype {other}"),
    }
}

/// Creates the archive of one tensor, as `torch.save(tensor)` does.
pub fn archive(tensor: &Tensor) -> Vec<u8> {
    let mut pickle = b"\x80\x02".to_vec();
    rebuild(&mut pickle, "0", tensor);
    pickle.push(b'.');
    zip(&[
        ("archive/data.pkl".to_owned(), pickle),
        ("archive/data/0".to_owned(), tensor.bytes().to_vec()),
    ])
}

/// Creates the pickle of the metadata. Chunks of one tensor must follow each other.
pub fn metadata(chunks: &[ListedChunk]) -> Vec<u8> {
    const MODULE: &str = "torch.distributed.checkpoint.metadata";
    let mut pickle = b"\x80\x02".to_vec();
    new(&mut pickle, MODULE, "Metadata");
    pickle.extend(b"}(");
    text(&mut pickle, "state_dict_metadata");
    pickle.extend(b"}(");
    for same in chunks.chunk_by(|a, b| a.name == b.name) {
        text(&mut pickle, &same[0].name);
        new(&mut pickle, MODULE, "TensorStorageMetadata");
        pickle.extend(b"}(");
        text(&mut pickle, "properties");
        new(&mut pickle, MODULE, "TensorProperties");
        pickle.extend(format!("(ctorch\n{}\n", same[0].dtype).bytes());
        pickle.extend(b"N\x89N\x89tb");
        attribute(&mut pickle, "size", &same[0].shape);
        text(&mut pickle, "chunks");
        pickle.extend(b"](");
        for chunk in same {
            new(&mut pickle, MODULE, "ChunkStorageMetadata");
            pickle.extend(b"}(");
            attribute(&mut pickle, "offsets", &chunk.offsets);
            attribute(&mut pickle, "sizes", &chunk.sizes);
            pickle.extend(b"ub");
        }
        pickle.extend(b"eub");
    }
    pickle.push(b'u');
    text(&mut pickle, "storage_data");
    pickle.extend(b"}(");
    for chunk in chunks {
        new(&mut pickle, MODULE, "MetadataIndex");
        pickle.extend(b"}(");
        text(&mut pickle, "fqn");
        text(&mut pickle, &chunk.name);
        attribute(&mut pickle, "offset", &chunk.offsets);
        pickle.extend(b"ub");
        new(
            &mut pickle,
            "torch.distributed.checkpoint.filesystem",
            "_StorageInfo",
        );
        pickle.extend(b"}(");
        text(&mut pickle, "relative_path");
        text(&mut pickle, &chunk.file);
        text(&mut pickle, "offset");
        int(&mut pickle, chunk.start);
        text(&mut pickle, "length");
        int(&mut pickle, chunk.len);
        pickle.extend(b"ub");
    }
    pickle.extend(b"uub.");
    pickle
}

/// Appends a new object of a class.
fn new(pickle: &mut Vec<u8>, module: &str, class: &str) {
    pickle.extend(format!("c{module}\n{class}\n").bytes());
    pickle.extend(b")\x81");
}

/// Appends the name of an attribute and a `torch.Size`.
fn attribute(pickle: &mut Vec<u8>, name: &str, sizes: &[usize]) {
    text(pickle, name);
    pickle.extend(b"ctorch\nSize\n(");
    // `LONG1`, as hostile sizes exceed an `i32`.
    for size in sizes {
        pickle.extend(b"\x8a\x08");
        pickle.extend((*size as u64).to_le_bytes());
    }
    pickle.extend(b"t\x85R");
}
