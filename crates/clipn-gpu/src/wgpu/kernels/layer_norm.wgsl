// Layer norm with gain and bias: a workgroup for each row.
struct Params { count: u32, width: u32, has_rows: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> rows: array<u32>;
@group(0) @binding(3) var<storage, read> gain: array<f32>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;
@group(0) @binding(5) var<storage, read_write> out: array<Out>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let row = group.y * groups.x + group.x;
    if row >= p.count {
        return;
    }
    var source = row;
    if p.has_rows != 0u {
        source = rows[row];
    }
    let first = source * p.width;
    let moments = row_moments(first, index);
    for (var column = index; column < p.width; column += 64u) {
        let normed = (x[first + column] - moments.x) * moments.y;
        out[row * p.width + column] = Out(normed * gain[column] + bias[column]);
    }
}
