// Class tokens before the patches of each image, plus positions.
struct Params { len: u32, patches: u32, width: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> patches: array<f32>;
@group(0) @binding(2) var<storage, read> class_token: array<f32>;
@group(0) @binding(3) var<storage, read> positions: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;

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
    let column = i % p.width;
    let row = i / p.width;
    let image = row / (1u + p.patches);
    let at = row % (1u + p.patches);
    var value = 0.0;
    if at == 0u {
        value = class_token[column];
    } else {
        value = patches[(image * p.patches + at - 1u) * p.width + column];
    }
    out[i] = value + positions[at * p.width + column];
}
