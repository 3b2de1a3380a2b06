-- Load for wrk: one body, again and again; with a pace, after a random pause each time.
--   wrk … -s load.lua URL -- BODY [MEAN PAUSE IN MS]

function init(args)
  local file = assert(io.open(args[1], "rb"))
  wrk.method = "POST"
  wrk.body = file:read("*a")
  wrk.headers["Content-Type"] = "application/json"
  wrk.headers["Content-Encoding"] = "gzip"
  wrk.headers["User-Agent"] = "DataForSEO"
  file:close()
  local pause = tonumber(args[2])
  if pause then
    function delay()
      return math.random(0, 2 * pause)
    end
  end
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '{"requests":%d,"microseconds":%d,"p50":%d,"p99":%d,"refused":%d,"broken":%d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
