// Patches of images as rows, in the order of the convolution's weights.
struct Params { len: u32, height: u32, width: u32, patch_size: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> pixels: array<f32>;
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
    let area = p.patch_size * p.patch_size;
    let columns = p.width / p.patch_size;
    let patches = columns * (p.height / p.patch_size);
    let inner = i % (3u * area);
    let row = i / (3u * area);
    let at = row % patches;
    let y = at / columns * p.patch_size + inner % area / p.patch_size;
    let x = at % columns * p.patch_size + inner % p.patch_size;
    let channel = row / patches * 3u + inner / area;
    out[i] = Compute(pixels[(channel * p.height + y) * p.width + x]);
}
