-- Does one ShardWrite whole, or refuses it whole. All keys share one hash tag.
--
-- The only write command is one MSET at the end: a script with two could be torn by an append-only
-- file that ends in the middle of its transaction, and the next restart would apply the half.
--
-- KEYS: the fence, n rows, d documents, c sets of what was watched with an item.
-- ARGV: head as msgpack {moves {source, epoch, before, after, stream_ms}, ledger {5}, n, groups of rows
--       {how many, number of the scope, width}, numbers of the guarded documents,
--       {c, bytes of a set's entry, bytes of a full set}},
--       n rows of little-endian doubles {ref_ms, last_ms, slots}, the versions expected of the guarded
--       documents (8 bytes each, zeros: none may stand there), d documents, entries gained and lost of
--       each of the c sets.
-- Returns 1, or 0 where a fence or a guarded document is not what the worker read.
-- The functions that add rows, one a scope, stand before this (see streams/store/merging.py).
local head = cmsgpack.unpack(ARGV[1])
local moves, ledger, n, groups, guards, sets = head[1], head[2], head[3], head[4], head[5], head[6]
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
local sets_from = #KEYS - sets[1]
for i = n + 2, sets_from do
  out[#out + 1] = KEYS[i]
  out[#out + 1] = ARGV[2 + i - n]
end

-- Sets of entries {ts_ms 6 bytes, mark 2, item 6}, ascending; the newest stay. Bytes are compared as
-- numbers, since Lua's own comparison of strings follows the server's locale.
local step, full = sets[2], sets[3]
local function later(a, b)
  local a1, a2, a3 = struct.unpack('>I6I2I6', a)
  local b1, b2, b3 = struct.unpack('>I6I2I6', b)
  if a1 ~= b1 then return a1 > b1 end
  if a2 ~= b2 then return a2 > b2 end
  return a3 > b3
end
for c = 1, sets[1] do
  local key, at = KEYS[sets_from + c], 2 + sets_from - n + 2 * c - 1
  local gained, lost, whole = ARGV[at], ARGV[at + 1], held[sets_from + c] or ''
  for from = 1, #gained, step do
    local entry = string.sub(gained, from, from + step - 1)
    local place = #whole  -- bytes that stay before it
    while place > 0 do
      local before = string.sub(whole, place - step + 1, place)
      if before == entry then place = -1 elseif later(entry, before) then break else place = place - step end
    end
    if place >= 0 then
      whole = string.sub(whole, 1, place) .. entry .. string.sub(whole, place + 1)
    end
  end
  for from = 1, #lost, step do
    local entry = string.sub(lost, from, from + step - 1)
    for place = 1, #whole, step do
      if string.sub(whole, place, place + step - 1) == entry then
        whole = string.sub(whole, 1, place - 1) .. string.sub(whole, place + step)
        break
      end
    end
  end
  out[#out + 1] = key
  out[#out + 1] = string.sub(whole, math.max(1, #whole - full + 1))
end
redis.call('MSET', unpack(out))
return 1
