//! Allow list of the global names in pickles of weights. All other names are rejected.

use crate::Dtype;

/// Meaning of an allowed global name.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Global {
    OrderedDict,
    DefaultDict,
    Counter,
    Set,
    Bytes,
    /// A type used only as a value, such as the factory of a defaultdict.
    Inert(&'static str),
    RebuildTensor,
    RebuildTensorV2,
    RebuildTensorV3,
    RebuildParameter,
    RebuildParameterWithState,
    /// Rebuilds a tensor of a given class, or one that has Python attributes.
    RebuildFromType,
    /// Rebuilds a tensor of a class that has no elements of its own. Only named in errors.
    RebuildWrapperSubclass,
    /// The class `torch.Tensor`.
    TensorClass,
    Storage(StorageType),
    /// A `torch.dtype`.
    Dtype(StorageType),
    Size,
    Device,
    NumpyScalar,
    NumpyDtype,
    Encode,
    /// A module class of a TorchScript archive: an object with named attributes.
    ScriptModule,
    /// A typed list of a TorchScript archive.
    ScriptList,
    /// A value tagged with its TorchScript type.
    ScriptTyped,
    /// A dataclass in the metadata of a distributed checkpoint: an object with named attributes.
    Record,
    /// A function or an enumeration in such metadata that stands for its only argument.
    Transparent,
    /// A path in such metadata, with its components as arguments.
    Path,
}

/// A PyTorch element type, supported or not.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct StorageType {
    pub(crate) name: &'static str,
    /// `None` if [`Dtype`] has no such type.
    pub(crate) dtype: Option<Dtype>,
    /// Size of an element in bytes.
    pub(crate) size: usize,
}

const fn ty(name: &'static str, dtype: Dtype, size: usize) -> StorageType {
    StorageType {
        name,
        dtype: Some(dtype),
        size,
    }
}

const fn unsupported(name: &'static str, size: usize) -> StorageType {
    StorageType {
        name,
        dtype: None,
        size,
    }
}

/// Storage classes with their element types.
const STORAGES: &[(&str, StorageType)] = &[
    ("FloatStorage", ty("float32", Dtype::F32, 4)),
    ("HalfStorage", ty("float16", Dtype::F16, 2)),
    ("BFloat16Storage", ty("bfloat16", Dtype::Bf16, 2)),
    ("DoubleStorage", ty("float64", Dtype::F64, 8)),
    ("LongStorage", ty("int64", Dtype::I64, 8)),
    ("IntStorage", ty("int32", Dtype::I32, 4)),
    ("ShortStorage", ty("int16", Dtype::I16, 2)),
    ("CharStorage", ty("int8", Dtype::I8, 1)),
    ("ByteStorage", ty("uint8", Dtype::U8, 1)),
    ("UntypedStorage", ty("uint8", Dtype::U8, 1)),
    ("BoolStorage", ty("bool", Dtype::Bool, 1)),
    ("ComplexFloatStorage", unsupported("complex64", 8)),
    ("ComplexDoubleStorage", unsupported("complex128", 16)),
    ("QInt8Storage", unsupported("qint8", 1)),
    ("QUInt8Storage", unsupported("quint8", 1)),
    ("QInt32Storage", unsupported("qint32", 4)),
    ("QUInt4x2Storage", unsupported("quint4x2", 1)),
    ("QUInt2x4Storage", unsupported("quint2x4", 1)),
];

/// Values of `torch.dtype` that are not the element type of a storage class.
const OTHER_DTYPES: &[StorageType] = &[
    unsupported("uint16", 2),
    unsupported("uint32", 4),
    unsupported("uint64", 8),
    unsupported("complex32", 4),
    unsupported("float8_e4m3fn", 1),
    unsupported("float8_e5m2", 1),
    unsupported("float8_e4m3fnuz", 1),
    unsupported("float8_e5m2fnuz", 1),
    unsupported("float8_e8m0fnu", 1),
];

/// Program that wrote the pickle, which determines the allowed names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// `torch.save`.
    Checkpoint,
    /// `torch.jit.save`: objects of compiled classes beside plain values. Their code is in other
    /// entries of the archive, which are never read.
    TorchScript,
    /// `torch.distributed.checkpoint`: the dataclasses that list tensors, chunks and files.
    DistributedMetadata,
}

/// Returns the meaning of `module.name`, or `None` if the name must be rejected.
pub(crate) fn lookup(dialect: Dialect, module: &str, name: &str) -> Option<Global> {
    let of_dialect = match dialect {
        Dialect::Checkpoint => None,
        Dialect::TorchScript => script(module, name),
        Dialect::DistributedMetadata => distributed(module, name),
    };
    if of_dialect.is_some() {
        return of_dialect;
    }
    Some(match (module, name) {
        ("collections", "OrderedDict") => Global::OrderedDict,
        ("collections", "defaultdict") => Global::DefaultDict,
        ("collections", "Counter") => Global::Counter,
        ("torch._utils", "_rebuild_tensor") => Global::RebuildTensor,
        ("torch._utils", "_rebuild_tensor_v2") => Global::RebuildTensorV2,
        ("torch._utils", "_rebuild_tensor_v3") => Global::RebuildTensorV3,
        ("torch._utils", "_rebuild_parameter") => Global::RebuildParameter,
        ("torch._utils", "_rebuild_parameter_with_state") => Global::RebuildParameterWithState,
        ("torch._utils", "_rebuild_wrapper_subclass") => Global::RebuildWrapperSubclass,
        ("torch._tensor", "_rebuild_from_type_v2") => Global::RebuildFromType,
        ("torch", "Tensor") => Global::TensorClass,
        ("torch", "Size") => Global::Size,
        ("torch", "device") => Global::Device,
        ("torch", _) => return storage(name).or_else(|| dtype(name)),
        ("torch.storage", "UntypedStorage") => return storage(name),
        ("numpy.core.multiarray" | "numpy._core.multiarray", "scalar") => Global::NumpyScalar,
        ("numpy", "dtype") => Global::NumpyDtype,
        ("_codecs", "encode") => Global::Encode,
        ("builtins" | "__builtin__", _) => return builtin(name),
        _ => return None,
    })
}

fn storage(name: &str) -> Option<Global> {
    STORAGES
        .iter()
        .find(|(class, _)| *class == name)
        .map(|&(_, ty)| Global::Storage(ty))
}

fn dtype(name: &str) -> Option<Global> {
    let of_storages = STORAGES.iter().map(|(_, ty)| ty);
    of_storages
        .chain(OTHER_DTYPES)
        .find(|ty| ty.name == name)
        .map(|&ty| Global::Dtype(ty))
}

/// Looks up names that TorchScript's pickler writes.
fn script(module: &str, name: &str) -> Option<Global> {
    match (module, name) {
        (
            "torch.jit._pickle",
            "build_intlist" | "build_doublelist" | "build_boollist" | "build_tensorlist",
        ) => Some(Global::ScriptList),
        ("torch.jit._pickle", "restore_type_tag") => Some(Global::ScriptTyped),
        _ if module == "__torch__" || module.starts_with("__torch__.") => {
            Some(Global::ScriptModule)
        }
        _ => None,
    }
}

/// Looks up names in the metadata of a distributed checkpoint. `_shard` is the module of
/// `TensorProperties` in earlier versions of PyTorch 2.
fn distributed(module: &str, name: &str) -> Option<Global> {
    Some(match (module, name) {
        (
            "torch.distributed.checkpoint.metadata",
            "Metadata"
            | "TensorStorageMetadata"
            | "BytesStorageMetadata"
            | "ChunkStorageMetadata"
            | "MetadataIndex"
            | "TensorProperties"
            | "StorageMeta",
        )
        | ("torch.distributed._shard.sharded_tensor.metadata", "TensorProperties")
        | ("torch.distributed.checkpoint.filesystem", "_StorageInfo") => Global::Record,
        ("torch.distributed.checkpoint.metadata", "_MEM_FORMAT_ENCODING")
        | ("torch.distributed._shard.sharded_tensor.metadata", "MEM_FORMAT_ENCODING")
        | ("torch.serialization", "_get_layout") => Global::Transparent,
        (
            "pathlib" | "pathlib._local",
            "Path" | "PosixPath" | "WindowsPath" | "PurePath" | "PurePosixPath" | "PureWindowsPath",
        ) => Global::Path,
        _ => return None,
    })
}

fn builtin(name: &str) -> Option<Global> {
    const INERT: [&str; 7] = ["dict", "list", "tuple", "int", "float", "str", "bool"];
    match name {
        "set" | "frozenset" => Some(Global::Set),
        "bytes" | "bytearray" => Some(Global::Bytes),
        _ => INERT
            .into_iter()
            .find(|&inert| inert == name)
            .map(Global::Inert),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allows_only_names_that_describe_data() {
        for (module, name) in [
            ("os", "system"),
            ("posix", "system"),
            ("builtins", "eval"),
            ("builtins", "getattr"),
            ("__builtin__", "exec"),
            ("torch", "load"),
            ("torch", "compile"),
            ("torch.storage", "_load_from_bytes"),
            ("torch.serialization", "load"),
            ("numpy.core.multiarray", "_reconstruct"),
            ("collections", "OrderedDict.__init__"),
            ("argparse", "Namespace"),
            ("torch.distributed", "init_process_group"),
            ("torch.distributed.checkpoint.filesystem", "FileSystem"),
            ("torch._utils", "_import_dotted_name"),
            ("", ""),
        ] {
            for dialect in [
                Dialect::Checkpoint,
                Dialect::TorchScript,
                Dialect::DistributedMetadata,
            ] {
                assert_eq!(lookup(dialect, module, name), None, "{module}.{name}");
            }
        }
    }

    #[test]
    fn allows_compiled_classes_only_in_torchscript() {
        for (module, name, global) in [
            ("__torch__", "Model", Global::ScriptModule),
            (
                "__torch__.torch.nn.modules.conv",
                "Conv2d",
                Global::ScriptModule,
            ),
            ("torch.jit._pickle", "build_intlist", Global::ScriptList),
        ] {
            assert_eq!(lookup(Dialect::TorchScript, module, name), Some(global));
            assert_eq!(lookup(Dialect::Checkpoint, module, name), None);
        }
        assert_eq!(lookup(Dialect::TorchScript, "__torch__os", "system"), None);
        assert_eq!(
            lookup(Dialect::TorchScript, "torch.jit._pickle", "build_anything"),
            None
        );
    }

    #[test]
    fn allows_records_only_in_distributed_metadata() {
        for (module, name, global) in [
            (
                "torch.distributed.checkpoint.metadata",
                "Metadata",
                Global::Record,
            ),
            ("torch.serialization", "_get_layout", Global::Transparent),
            ("pathlib", "PosixPath", Global::Path),
        ] {
            let dialect = Dialect::DistributedMetadata;
            assert_eq!(lookup(dialect, module, name), Some(global));
            for dialect in [Dialect::Checkpoint, Dialect::TorchScript] {
                assert_eq!(lookup(dialect, module, name), None);
            }
        }
    }

    #[test]
    fn dtypes_and_storages_agree() {
        let Some(Global::Dtype(dtype)) = lookup(Dialect::Checkpoint, "torch", "bfloat16") else {
            panic!("a dtype")
        };
        assert_eq!(
            lookup(Dialect::Checkpoint, "torch", "BFloat16Storage"),
            Some(Global::Storage(dtype))
        );
        assert_eq!(dtype.dtype, Some(Dtype::Bf16));
        for (class, ty) in STORAGES {
            assert_eq!(ty.dtype.map_or(ty.size, Dtype::size), ty.size, "{class}");
        }
    }
}
