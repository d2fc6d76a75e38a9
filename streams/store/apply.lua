-- Does one ShardWrite whole, or refuses it whole. All keys share one hash tag.
--
-- The only write command is one MSET at the end: a script with two could be torn by an append-only
-- file that ends in the middle of its transaction, and the next restart would apply the half.
--
-- KEYS: the fence, n rows, d documents.
-- ARGV: head as msgpack {moves {source, epoch, before, after, stream_ms}, ledger {5}, n, groups of rows
--       {how many, number of the scope, width}, numbers of the guarded documents},
--       n rows of little-endian doubles {ref_ms, last_ms, slots}, the versions expected of the guarded
--       documents (8 bytes each, zeros: none may stand there), d documents.
-- Returns 1, or 0 where a fence or a guarded document is not what the worker read.
-- The functions that add rows, one a scope, stand before this (see streams/store/merging.py).
local head = cmsgpack.unpack(ARGV[1])
local moves, ledger, n, groups, guards = head[1], head[2], head[3], head[4], head[5]
local held = redis.call('MGET', unpack(KEYS))

local fence = {{}, {0, 0, 0, 0, 0}}
if held[1] then fence = cmsgpack.unpack(held[1]) end
local positions = fence[1]
for _, move in ipairs(moves) do
  local at, offset = positions[move[1]], -1
  if at and at[1] == move[2] then offset = at[2] end
  if offset ~= move[3] then return 0 end
  positions[move[1]] = {move[2], move[4], move[5]}
end
for i, guard in ipairs(guards) do
  local document = held[1 + n + guard]
  local version = string.rep('\0', 8)
  if document then version = string.sub(document, 1, 8) end
  if version ~= string.sub(ARGV[3], i * 8 - 7, i * 8) then return 0 end
end
for i = 1, #ledger do fence[2][i] = (fence[2][i] or 0) + ledger[i] end

local out = {KEYS[1], cmsgpack.pack(fence)}
local i, first, filled = 1, 1, 2
for _, group in ipairs(groups) do
  local merge, bytes = merges[group[2]], group[3] * 8
  for _ = 1, group[1] do
    local old, row = held[1 + i], nil
    if old then
      if #old ~= bytes then error('a state row of ' .. #old .. ' bytes, expected ' .. bytes) end
      row = merge(old, ARGV[2], first)
    else
      row = string.sub(ARGV[2], first, first + bytes - 1)
    end
    out[filled + 1], out[filled + 2] = KEYS[1 + i], row
    i, first, filled = i + 1, first + bytes, filled + 2
  end
end
for i = n + 2, #KEYS do
  out[#out + 1] = KEYS[i]
  out[#out + 1] = ARGV[2 + i - n]
end
redis.call('MSET', unpack(out))
return 1
