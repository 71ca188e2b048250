//! Opcodes that call a function in Python. Here each allowed name converts its arguments to data.

use super::PickleError;
use super::global::{Dialect, Global, StorageType};
use super::node::{Id, Node, StorageSpec, TensorSpec};
use super::vm::Vm;

/// PyTorch's own limit on the number of dimensions.
const MAX_DIMENSIONS: usize = 64;

/// REDUCE and NEWOBJ: replaces a global name and its argument tuple by the result.
pub(crate) fn reduce(vm: &mut Vm<'_, '_>) -> Result<(), PickleError> {
    let (args, callee) = (vm.pop()?, vm.pop()?);
    let Node::Tuple(items) = vm.node(args) else {
        return Err(vm.reader.corrupt("call arguments are not a tuple"));
    };
    // A path has one argument per directory, and nothing depends on it.
    if matches!(vm.node(callee), Node::Global(Global::Path)) {
        return vm.push_id(args);
    }
    // No allowed global takes more.
    const MAX_ARGUMENTS: usize = 8;
    if items.len() > MAX_ARGUMENTS {
        return Err(vm
            .reader
            .corrupt(format!("call with {} arguments", items.len())));
    }
    let items = items.to_vec();
    let Node::Global(global) = *vm.node(callee) else {
        let reason = format!("call of {}", vm.node(callee).kind());
        return Err(vm.reader.corrupt(reason));
    };
    match (global, &items[..]) {
        (Global::OrderedDict, []) => vm.push(Node::Dict(Vec::new())),
        (Global::OrderedDict, &[entries]) => dict_from_pairs(vm, entries),
        (Global::DefaultDict, [] | [_]) => vm.push(Node::Dict(Vec::new())),
        (Global::Counter, []) => vm.push(Node::Dict(Vec::new())),
        (Global::Counter, &[counts]) if matches!(vm.node(counts), Node::Dict(_)) => {
            vm.push_id(counts)
        }
        (Global::Set, []) => vm.push(Node::Set(Vec::new())),
        (Global::Set, &[items]) => set_from_items(vm, items),
        (Global::Bytes, []) => vm.push(Node::Bytes(&[])),
        (Global::Bytes, &[bytes])
            if matches!(vm.node(bytes), Node::Bytes(_) | Node::OwnedBytes(_)) =>
        {
            vm.push_id(bytes)
        }
        (Global::Bytes | Global::Encode, &[text, encoding]) => encode(vm, text, encoding),
        (Global::Size, &[sizes]) if matches!(vm.node(sizes), Node::Tuple(_)) => vm.push_id(sizes),
        (Global::Device, &[kind]) => device(vm, kind, None),
        (Global::Device, &[kind, index]) => device(vm, kind, Some(index)),
        (Global::NumpyDtype, &[kind, ..]) => match vm.node(kind) {
            &Node::Str(kind) => vm.push(Node::NumpyDtype { kind, big: false }),
            _ => Err(vm.reader.corrupt("numpy dtype without a name")),
        },
        (Global::NumpyScalar, &[dtype, bytes]) => numpy_scalar(vm, dtype, bytes),
        (Global::RebuildTensor, &[storage, offset, shape, strides])
        | (Global::RebuildTensorV2, &[storage, offset, shape, strides, _, _])
        | (Global::RebuildTensorV2, &[storage, offset, shape, strides, _, _, _]) => {
            let view = TensorArguments {
                storage,
                offset,
                shape,
                strides,
                dtype: None,
            };
            tensor(vm, view)
        }
        (Global::RebuildTensorV3, &[storage, offset, shape, strides, _, _, dtype])
        | (Global::RebuildTensorV3, &[storage, offset, shape, strides, _, _, dtype, _]) => {
            let view = TensorArguments {
                storage,
                offset,
                shape,
                strides,
                dtype: Some(dtype),
            };
            tensor(vm, view)
        }
        (Global::RebuildParameter, &[data, _, _])
        | (Global::RebuildParameterWithState, &[data, _, _, _]) => match vm.node(data) {
            Node::Tensor(_) => vm.push_id(data),
            other => {
                let reason = format!("parameter made from {}", other.kind());
                Err(vm.reader.corrupt(reason))
            }
        },
        (Global::RebuildFromType, &[function, class, args, _]) => {
            plain_tensor(vm, function, class, args)
        }
        (Global::Record | Global::ScriptModule, []) => vm.push(Node::Module(Vec::new())),
        (Global::Transparent, &[value]) => vm.push_id(value),
        (Global::ScriptList, &[list]) if matches!(vm.node(list), Node::List(_)) => vm.push_id(list),
        (Global::ScriptTyped, &[value, name]) if matches!(vm.node(name), Node::Str(_)) => {
            vm.push_id(value)
        }
        _ => Err(vm.reader.corrupt(format!(
            "invalid arguments for {global:?} ({} given)",
            items.len()
        ))),
    }
}

/// `_rebuild_from_type_v2` of a `torch.Tensor`, which has Python attributes that are dropped.
fn plain_tensor(vm: &mut Vm<'_, '_>, function: Id, class: Id, args: Id) -> Result<(), PickleError> {
    let is_plain = matches!(vm.node(class), Node::Global(Global::TensorClass));
    match vm.node(function) {
        Node::Global(Global::RebuildTensor | Global::RebuildTensorV2 | Global::RebuildTensorV3)
            if is_plain =>
        {
            vm.push_id(function)?;
            vm.push_id(args)?;
            reduce(vm)
        }
        other => {
            let reason = format!("tensor of a class rebuilt by {}", other.kind());
            Err(vm.reader.corrupt(reason))
        }
    }
}

/// BUILD: sets the state of the object below it. Attributes of dictionaries and tensors contain no
/// weights and are dropped; those of a TorchScript module are the weights.
pub(crate) fn build(vm: &mut Vm<'_, '_>) -> Result<(), PickleError> {
    let (state, object) = (vm.pop()?, vm.top()?);
    match vm.node(object) {
        Node::Dict(_) | Node::Tensor(_) => Ok(()),
        Node::Module(_) => attributes(vm, object, state),
        Node::NumpyDtype { .. } => {
            let order = match vm.node(state) {
                Node::Tuple(items) => items.get(1).map(|&order| vm.node(order)),
                _ => None,
            };
            let is_big = matches!(order, Some(Node::Str(">")));
            if let Node::NumpyDtype { big, .. } = vm.node_mut(object) {
                *big = is_big;
            }
            Ok(())
        }
        other => {
            let reason = format!("attributes set on {}", other.kind());
            Err(vm.reader.corrupt(reason))
        }
    }
}

fn attributes(vm: &mut Vm<'_, '_>, object: Id, state: Id) -> Result<(), PickleError> {
    if let (Dialect::DistributedMetadata, Node::Tuple(items)) = (vm.dialect, vm.node(state)) {
        // `TensorProperties` has its attributes in a fixed order.
        let items = items.clone();
        vm.budget.charge(size_of_val(&*items))?;
        *vm.node_mut(object) = Node::Tuple(items);
        return Ok(());
    }
    let Node::Dict(entries) = vm.node(state) else {
        let reason = format!(
            "module attributes are {}, not a dictionary",
            vm.node(state).kind()
        );
        return Err(vm.reader.corrupt(reason));
    };
    let entries = entries.clone();
    vm.budget.charge(size_of_val(&*entries))?;
    if let Node::Module(attributes) = vm.node_mut(object) {
        *attributes = entries;
    }
    Ok(())
}

/// BINPERSID: PyTorch identifies a storage by `("storage", class, key, location, elements)`. Before
/// 0.4 a sixth item describes a view of the storage: None or `(key of the view, first element,
/// elements)`.
pub(crate) fn persistent_id(vm: &mut Vm<'_, '_>) -> Result<(), PickleError> {
    let id = vm.pop()?;
    let malformed = "persistent id does not describe a storage";
    let Node::Tuple(items) = vm.node(id) else {
        return Err(vm.reader.corrupt(malformed));
    };
    let (&[tag, class, key, _, len], view) = match items.split_first_chunk::<5>() {
        Some((head, [])) => (head, None),
        Some((head, &[view])) => (head, Some(view)),
        _ => return Err(vm.reader.corrupt(malformed)),
    };
    let (&Node::Str("storage"), &Node::Global(Global::Storage(ty)), &Node::Str(key)) =
        (vm.node(tag), vm.node(class), vm.node(key))
    else {
        return Err(vm.reader.corrupt(malformed));
    };
    let len = size(vm, len)?;
    let view = match view.map(|view| vm.node(view)) {
        None | Some(Node::None) => None,
        Some(Node::Tuple(view)) => match **view {
            [_, start, len] => Some((size(vm, start)?, size(vm, len)?)),
            _ => return Err(vm.reader.corrupt("storage view without bounds")),
        },
        Some(_) => return Err(vm.reader.corrupt("storage view without bounds")),
    };
    vm.budget.charge_growing(size_of::<StorageSpec<'_>>())?;
    vm.storages.push(StorageSpec { key, ty, len, view });
    let index = u32::try_from(vm.storages.len() - 1).map_err(|_| PickleError::Exhausted)?;
    vm.push(Node::Storage(index))
}

/// Arguments of PyTorch's `_rebuild_tensor` functions that describe the view of a storage.
#[derive(Clone, Copy)]
struct TensorArguments {
    storage: Id,
    offset: Id,
    shape: Id,
    strides: Id,
    /// Element type; `None` is that of the storage.
    dtype: Option<Id>,
}

fn tensor(vm: &mut Vm<'_, '_>, view: TensorArguments) -> Result<(), PickleError> {
    let &Node::Storage(storage) = vm.node(view.storage) else {
        return Err(vm.reader.corrupt("tensor without a storage"));
    };
    let ty: StorageType = match view.dtype.map(|dtype| vm.node(dtype)) {
        None => vm.storages[storage as usize].ty,
        Some(&Node::Global(Global::Dtype(ty))) => ty,
        Some(_) => return Err(vm.reader.corrupt("tensor without an element type")),
    };
    let offset = size(vm, view.offset)?;
    let (shape, strides) = (sizes(vm, view.shape)?, sizes(vm, view.strides)?);
    if shape.len() != strides.len() {
        let reason = format!(
            "tensor with {} sizes and {} strides",
            shape.len(),
            strides.len()
        );
        return Err(vm.reader.corrupt(reason));
    }
    vm.budget
        .charge_growing(size_of::<TensorSpec>() + size_of_val(&*shape))?;
    vm.tensors.push(TensorSpec {
        storage,
        ty,
        offset,
        shape,
        strides,
    });
    let index = u32::try_from(vm.tensors.len() - 1).map_err(|_| PickleError::Exhausted)?;
    vm.push(Node::Tensor(index))
}

fn size(vm: &Vm<'_, '_>, id: Id) -> Result<usize, PickleError> {
    vm.node(id)
        .as_size()
        .ok_or_else(|| vm.reader.corrupt("size is not a non-negative integer"))
}

fn sizes(vm: &Vm<'_, '_>, id: Id) -> Result<Box<[usize]>, PickleError> {
    match vm.node(id) {
        Node::Tuple(items) if items.len() <= MAX_DIMENSIONS => {
            items.iter().map(|&item| size(vm, item)).collect()
        }
        Node::List(items) if items.len() <= MAX_DIMENSIONS => {
            items.iter().map(|&item| size(vm, item)).collect()
        }
        _ => Err(vm.reader.corrupt(format!(
            "sizes are not a tuple of at most {MAX_DIMENSIONS} numbers"
        ))),
    }
}

/// Python 2 passes the entries of an OrderedDict as one list of two-item lists.
fn dict_from_pairs(vm: &mut Vm<'_, '_>, entries: Id) -> Result<(), PickleError> {
    let Some(items) = items_of(vm, entries) else {
        return Err(vm.reader.corrupt("dictionary items are not pairs"));
    };
    vm.budget.charge(size_of_val(&*items) * 3)?;
    let mut pairs = Vec::with_capacity(items.len());
    for item in items {
        match items_of(vm, item).as_deref() {
            Some(&[key, value]) => pairs.push((key, value)),
            _ => {
                return Err(vm.reader.corrupt("dictionary items are not pairs"));
            }
        }
    }
    vm.push(Node::Dict(pairs))
}

fn set_from_items(vm: &mut Vm<'_, '_>, items: Id) -> Result<(), PickleError> {
    let Some(items) = items_of(vm, items) else {
        return Err(vm.reader.corrupt("set items are not a list"));
    };
    vm.budget.charge(size_of_val(&*items))?;
    vm.push(Node::Set(items))
}

fn items_of(vm: &Vm<'_, '_>, id: Id) -> Option<Vec<Id>> {
    match vm.node(id) {
        Node::List(items) => Some(items.clone()),
        Node::Tuple(items) => Some(items.to_vec()),
        _ => None,
    }
}

/// `_codecs.encode(text, "latin1")`, the representation of bytes in protocol 2.
fn encode(vm: &mut Vm<'_, '_>, text: Id, encoding: Id) -> Result<(), PickleError> {
    let (&Node::Str(text), &Node::Str("latin1" | "latin-1")) = (vm.node(text), vm.node(encoding))
    else {
        return Err(vm.reader.corrupt("bytes in an encoding other than latin1"));
    };
    vm.budget.charge(text.len())?;
    let bytes: Option<Box<[u8]>> = text.chars().map(|c| u8::try_from(c).ok()).collect();
    match bytes {
        Some(bytes) => vm.push(Node::OwnedBytes(bytes)),
        None => Err(vm.reader.corrupt("latin1 text with a character above 255")),
    }
}

fn device(vm: &mut Vm<'_, '_>, kind: Id, index: Option<Id>) -> Result<(), PickleError> {
    let (kind, index) = (vm.node(kind), index.map(|index| vm.node(index)));
    match (kind, index) {
        (&Node::Str(kind), None | Some(Node::None)) => vm.push(Node::Device { kind, index: None }),
        (&Node::Str(kind), Some(&Node::Int(index))) => vm.push(Node::Device {
            kind,
            index: Some(index),
        }),
        _ => Err(vm.reader.corrupt("device without a name")),
    }
}

fn numpy_scalar(vm: &mut Vm<'_, '_>, dtype: Id, bytes: Id) -> Result<(), PickleError> {
    let &Node::NumpyDtype { kind, big } = vm.node(dtype) else {
        return Err(vm.reader.corrupt("numpy scalar without a dtype"));
    };
    let bytes: &[u8] = match vm.node(bytes) {
        Node::Bytes(bytes) => bytes,
        Node::OwnedBytes(bytes) => bytes,
        _ => return Err(vm.reader.corrupt("numpy scalar without bytes")),
    };
    let mut digits = [0; 8];
    let Some(target) = digits.get_mut(..bytes.len()) else {
        return Err(vm.reader.corrupt("numpy scalar of more than 8 bytes"));
    };
    target.copy_from_slice(bytes);
    if big {
        target.reverse();
    }
    let (bits, len) = (u64::from_le_bytes(digits), bytes.len());
    let node = match (kind, len) {
        ("f8", 8) => Node::Float(f64::from_bits(bits)),
        ("f4", 4) => Node::Float(f32::from_bits(bits as u32).into()),
        ("f2", 2) => Node::Float(half::f16::from_bits(bits as u16).into()),
        ("i8", 8) => Node::Int(bits as i64),
        ("i4", 4) => Node::Int((bits as i32).into()),
        ("i2", 2) => Node::Int((bits as i16).into()),
        ("i1", 1) => Node::Int((bits as i8).into()),
        ("u1" | "u2" | "u4" | "u8", _) if i64::try_from(bits).is_ok() => Node::Int(bits as i64),
        ("b1", 1) => Node::Bool(bits != 0),
        _ => return Err(vm.reader.corrupt("unsupported numpy scalar type")),
    };
    vm.push(node)
}
