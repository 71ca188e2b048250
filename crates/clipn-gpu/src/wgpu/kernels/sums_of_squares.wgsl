// Sum of the squares of each 4096 elements.
struct Params { len: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let block = group.y * groups.x + group.x;
    let start = block * 4096u;
    if start >= p.len {
        return;
    }
    let end = min(start + 4096u, p.len);
    var sum = 0.0;
    for (var i = start + index; i < end; i += 64u) {
        sum += x[i] * x[i];
    }
    let squares = total(sum, index);
    if index == 0u {
        out[block] = squares;
    }
}
