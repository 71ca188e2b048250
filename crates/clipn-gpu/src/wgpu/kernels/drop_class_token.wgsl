// Rows of patches without those of class tokens.
struct Params { len: u32, patches: u32, width: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<Compute>;

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
    let row = i / p.width;
    // One class token for each image up to this one.
    let source = row + row / p.patches + 1u;
    out[i] = Compute(x[source * p.width + i % p.width]);
}
