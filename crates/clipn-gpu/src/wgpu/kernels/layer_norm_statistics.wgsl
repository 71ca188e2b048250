// Mean and inverse standard deviation of each row.
struct Params { count: u32, width: u32, has_rows: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> rows: array<u32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

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
    let moments = row_moments(source * p.width, index);
    if index == 0u {
        out[2u * row] = moments.x;
        out[2u * row + 1u] = moments.y;
    }
}
