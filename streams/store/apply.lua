-- Does one ShardWrite whole, or refuses it whole. All keys share one hash tag.
--
-- The only write command is one MSET at the end: a script with two could be torn by an append-only
-- file that ends in the middle of its transaction, and the next restart would apply the half.
--
-- KEYS: the fence, n rows, d documents.
-- ARGV: head as msgpack {moves {source, epoch, before, after, stream_ms}, ledger {5}, n, groups of rows
--       {how many, half-life of each slot in ms (infinite: a total)}, numbers of the guarded documents},
--       n rows of little-endian doubles {ref_ms, last_ms, slots}, the versions expected of the guarded
--       documents (8 bytes each, zeros: none may stand there), d documents.
-- Returns 1, or 0 where a fence or a guarded document is not what the worker read.
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
local i, first = 1, 1
for _, group in ipairs(groups) do
  local halves = group[2]
  local width = #halves + 2
  local bytes, layout = width * 8, '<' .. string.rep('d', width)
  for _ = 1, group[1] do
    local old, row = held[1 + i], nil
    if old then
      if #old ~= bytes then error('a state row of ' .. #old .. ' bytes, expected ' .. bytes) end
      local new = {struct.unpack(layout, ARGV[2], first)}
      local sum = {struct.unpack(layout, old)}
      local ref = math.max(sum[1], new[1])
      local old_age, new_age, old_weight, new_weight = sum[1] - ref, new[1] - ref, {}, {}
      for k = 1, width - 2 do
        local half = halves[k]
        if not old_weight[half] then
          old_weight[half], new_weight[half] = 2 ^ (old_age / half), 2 ^ (new_age / half)
        end
        sum[k + 2] = sum[k + 2] * old_weight[half] + new[k + 2] * new_weight[half]
      end
      sum[1], sum[2] = ref, math.max(sum[2], new[2])
      row = struct.pack(layout, unpack(sum, 1, width))
    else
      row = string.sub(ARGV[2], first, first + bytes - 1)
    end
    out[#out + 1] = KEYS[1 + i]
    out[#out + 1] = row
    i, first = i + 1, first + bytes
  end
end
for i = n + 2, #KEYS do
  out[#out + 1] = KEYS[i]
  out[#out + 1] = ARGV[2 + i - n]
end
redis.call('MSET', unpack(out))
return 1
