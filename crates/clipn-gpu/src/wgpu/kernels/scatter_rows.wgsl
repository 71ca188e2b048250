// Adds rows to the rows that lists name; a workgroup for 64 columns of a target.
struct Params { count: u32, width: u32, stride: u32, first: u32, rows: u32, scale: f32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> lists: array<u32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let list = group.z * groups.y + group.y;
    let targets = lists[0];
    let column = group.x * 64u + index;
    if list >= targets || column >= p.width {
        return;
    }
    let destination = lists[2u + targets + list];
    if destination < p.first || destination - p.first >= p.rows {
        return;
    }
    let start = lists[1u + list];
    let end = lists[2u + list];
    let base = 2u + 2u * targets;
    var sum = out[(destination - p.first) * p.stride + column];
    for (var i = start; i < end; i++) {
        let entry = lists[base + i];
        let row = entry & 0x7fffffffu;
        if row < p.count {
            let value = x[row * p.width + column];
            sum += select(value, value * p.scale, (entry & 0x80000000u) != 0u);
        }
    }
    out[(destination - p.first) * p.stride + column] = sum;
}
