// Shared: the sum over a workgroup of 64 invocations, in a fixed order. All of them call it.
var<workgroup> partial_sums: array<f32, 64>;

fn total(value: f32, index: u32) -> f32 {
    partial_sums[index] = value;
    workgroupBarrier();
    for (var distance = 32u; distance > 0u; distance >>= 1u) {
        if index < distance {
            partial_sums[index] += partial_sums[index + distance];
        }
        workgroupBarrier();
    }
    let sum = partial_sums[0];
    workgroupBarrier();
    return sum;
}
