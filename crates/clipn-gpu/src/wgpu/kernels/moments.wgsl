// Shared: mean and inverse standard deviation of a row of x.
fn row_moments(first: u32, index: u32) -> vec2<f32> {
    var sum = 0.0;
    for (var column = index; column < p.width; column += 64u) {
        sum += x[first + column];
    }
    let mean = total(sum, index) / f32(p.width);
    var squares = 0.0;
    for (var column = index; column < p.width; column += 64u) {
        let difference = x[first + column] - mean;
        squares += difference * difference;
    }
    let variance = total(squares, index) / f32(p.width);
    return vec2<f32>(mean, 1.0 / sqrt(variance + 1e-5));
}
