// Random words by what they are for: the counter layout of ibsync/nulls/random_streams.py.
#include "common.cuh"

namespace ibsync {

struct Stream {
    u32 key_low, key_high, entity, purpose;
};

// Words 4 block .. 4 block + 3 of a draw.
IBSYNC_FUNCTION Words4 stream_block(Stream stream, u32 draw, u32 block) {
    return philox4x32_10(Words4{block, draw, stream.entity, stream.purpose}, stream.key_low, stream.key_high);
}

IBSYNC_FUNCTION u32 stream_word(Stream stream, u32 draw, u32 index) {
    const Words4 words = stream_block(stream, draw, index / 4u);
    const u32 place = index % 4u;
    return place < 2u ? (place == 0u ? words.x : words.y) : (place == 2u ? words.z : words.w);
}

// 16 bits of a draw for a frequency: the low ones of word f / 2 if f is even, the high ones if it is odd.
IBSYNC_FUNCTION u32 phase_bits(Stream stream, u32 draw, u32 frequency) {
    return stream_word(stream, draw, frequency / 2u) >> (frequency % 2u * 16u) & 0xFFFFu;
}

// Circular shift of a draw, 0..n-1; draw 0 is the recording itself.
IBSYNC_FUNCTION u32 shift_of(Stream stream, u32 draw, u32 n) {
    return draw == 0u ? 0u : below(stream_word(stream, draw, 0u), n);
}

}  // namespace ibsync
