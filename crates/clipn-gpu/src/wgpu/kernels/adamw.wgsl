// AdamW step of a parameter, in the order of operations of PyTorch.
struct Params { len: u32, decays: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> gradient: array<f32>;
@group(0) @binding(2) var<storage, read> constants: array<f32>;
@group(0) @binding(3) var<storage, read_write> parameter: array<f32>;
@group(0) @binding(4) var<storage, read_write> first_moment: array<f32>;
@group(0) @binding(5) var<storage, read_write> second_moment: array<f32>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let i = (group.y * groups.x + group.x) * 256u + index;
    if i >= p.len {
        return;
    }
    let g = gradient[i] * constants[7];
    let first = first_moment[i] + constants[1] * (g - first_moment[i]);
    let second = second_moment[i] * constants[2] + constants[3] * g * g;
    let root = sqrt(second) / constants[4] + constants[5];
    let decay = select(1.0, constants[0], p.decays != 0u);
    first_moment[i] = first;
    second_moment[i] = second;
    parameter[i] = parameter[i] * decay + constants[6] * first / root;
}
