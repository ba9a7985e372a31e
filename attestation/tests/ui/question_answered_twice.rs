//! A question is used up by its first answer.

use adyton_attestation::peer::ChannelExchange;

fn twice(exchange: ChannelExchange, one: &[u8], two: &[u8]) {
    let _ = exchange.answer(one);
    let _ = exchange.answer(two);
}

fn main() {}
