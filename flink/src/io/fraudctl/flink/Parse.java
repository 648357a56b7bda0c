package io.fraudctl.flink;

import java.io.*;
import java.nio.*;
import java.nio.charset.StandardCharsets;
import java.time.*;
import java.util.*;
import java.util.regex.Pattern;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.metrics.Counter;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.*;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.exc.StreamConstraintsException;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.ObjectMapper;
import org.apache.flink.streaming.api.functions.ProcessFunction;
import org.apache.flink.util.*;

/** Bytes to transactions or flag events, by the field rules in the properties; what is malformed becomes a dead letter. */
@SuppressWarnings("serial")
final class Parse extends ProcessFunction<Event, Event> {
  static final OutputTag<Event> DEAD = new OutputTag<>("dead-letters", Event.TYPE);

  private static final String LARGEST = "" + Long.MAX_VALUE;
  private static final Pattern UNPAIRED = Pattern.compile("\\p{Cs}");

  /** What a field holds: number or string, its text, and what is said of another one, in the words of `fields.py`. */
  private enum Kind {
    ACCOUNT(true, "[1-9]\\d{0,18}", "is not an integer from 1 to " + LARGEST),
    AMOUNT(true, "\\d{1,9}(\\.\\d{1,2})?", "is not a number from 0.00 to 999999999.99 with at most two decimals"),
    DATE(false, "\\d{4}-\\d\\d-\\d\\dT(?:[01]\\d|2[0-3]):\\d\\d:\\d\\d\\.\\d{3}Z", "is not a date: not YYYY-MM-DDTHH:MM:SS.mmmZ"),
    IDENTIFIER(false, "[^\\p{Cc}]*", "holds a control character"),
    STATUS(false, "FLAGGED|CLEARED", "is neither FLAGGED nor CLEARED"),
    TEXT(false, "(?s).*", "");

    private final boolean number;
    private final Pattern pattern;
    private final String wrong;

    Kind(boolean number, String pattern, String wrong) {
      this.number = number;
      this.pattern = Pattern.compile(pattern);
      this.wrong = wrong;
    }
  }

  /** One field as `name:kind:shortest:longest:null|set` says it; lengths are in Unicode characters. */
  private record Field(String name, Kind kind, int shortest, int longest, boolean nullable) implements Serializable {
    String check(Found found) throws IOException {
      require(found != null, name, "is missing");
      JsonToken token = found.token;
      String text = found.text;
      if (token == JsonToken.VALUE_NULL && nullable) return null;
      if (kind.number) {
        boolean fits = token.isNumeric() && kind.pattern.matcher(text).matches();
        require(fits && (kind != Kind.ACCOUNT || text.length() < 19 || text.compareTo(LARGEST) <= 0), name, kind.wrong);
        return text;
      }
      require(token == JsonToken.VALUE_STRING, name, "is not a string");
      int length = text.codePointCount(0, text.length());
      if (length < shortest || length > longest)
        throw new IOException(name + " has " + length + " characters, not " + shortest + " to " + longest);
      require(!UNPAIRED.matcher(text).find(), name, "holds an unpaired surrogate");
      require(kind == Kind.TEXT || kind.pattern.matcher(text).matches(), name, kind.wrong);
      require(kind != Kind.DATE || exists(text), name, "is not a date: there is no such date or time");
      return text;
    }
  }

  /** What a field of a record was found to be. */
  private record Found(JsonToken token, String text) { }

  private final boolean flags;
  private final Map<String, Field> fields = new LinkedHashMap<>();
  private final Set<String> forbidden;
  private final Map<String, String> copied = new LinkedHashMap<>(); // field of a flag event -> its name in a detection
  private final int maxBytes, maxDepth;
  private final ObjectMapper json;
  private transient Counter good, bad;

  /** Parses flag events, or else transactions. */
  Parse(boolean flags, ParameterTool properties) {
    this.flags = flags;
    for (String rule : properties.getRequired(flags ? "fields.flag" : "fields.transaction").split(",")) {
      String[] part = rule.split(":");
      fields.put(part[0], new Field(part[0], Kind.valueOf(part[1].toUpperCase(Locale.ROOT)), Integer.parseInt(part[2]),
          Integer.parseInt(part[3]), part[4].equals("null")));
    }
    forbidden = flags ? Set.of() : Set.of(properties.getRequired("fields.own").split(","));
    for (String pair : properties.getRequired("fields.copied").split(",")) copied.put(pair.split("=")[0], pair.split("=")[1]);
    maxBytes = properties.getInt("max.value.bytes");
    maxDepth = properties.getInt("max.depth");
    // The limit on bytes bounds everything but depth. Names come from strangers: neither intern them nor refuse odd ones.
    json = new ObjectMapper(new JsonFactoryBuilder().streamReadConstraints(StreamReadConstraints.builder().maxNumberLength(maxBytes)
        .maxNameLength(maxBytes).maxNestingDepth(maxDepth).build())
        .enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION).disable(JsonFactory.Feature.INTERN_FIELD_NAMES)
        .disable(JsonFactory.Feature.FAIL_ON_SYMBOL_HASH_OVERFLOW).build());
  }

  @Override public void open(OpenContext context) {
    good = Main.metrics(getRuntimeContext()).counter(flags ? "flagsIn" : "transactionsIn");
    bad = Main.metrics(getRuntimeContext()).counter("deadLetters");
  }

  @Override public void processElement(Event raw, Context context, Collector<Event> out) {
    Event event;
    try {
      event = parse(raw);
    } catch (IOException e) {
      String why = e.getMessage().replaceAll("[\\p{C}\\p{Z}&&[^ ]]", "?");
      context.output(DEAD, raw.bad(flags ? Event.BAD_FLAG : Event.BAD_TRANSACTION, why));
      bad.inc();
      return;
    }
    out.collect(event);
    good.inc();
  }

  /** Makes a raw record a transaction or a flag event; the exception says what is wrong with it, as `records.py` does. */
  Event parse(Event raw) throws IOException {
    Map<String, Found> found = new HashMap<>();
    String foreign = null; // the first field that only detections have
    CharBuffer text = text(raw.value()); // Jackson's decoder is less strict
    try (JsonParser parser = json.createParser(text.array(), 0, text.length())) {
      boolean object = parser.nextToken() == JsonToken.START_OBJECT;
      if (!object) require(parser.currentToken() != null, "not JSON:", "there is nothing");
      if (!object) parser.skipChildren();
      while (object && parser.nextToken() == JsonToken.FIELD_NAME) {
        String name = parser.currentName();
        JsonToken token = parser.nextToken();
        if (fields.containsKey(name)) found.put(name, new Found(token, parser.getText()));
        else if (foreign == null && forbidden.contains(name)) foreign = name;
        parser.skipChildren();
      }
      require(parser.nextToken() == null, "not JSON:", "it goes on after its end");
      require(object, "not", "a JSON object");
    } catch (JsonProcessingException e) {
      throw new IOException(why(e), e);
    }
    require(foreign == null, foreign, "is a field of detections, not of the input");
    Map<String, String> values = new HashMap<>();
    for (Field field : fields.values()) values.put(field.name, field.check(found.get(field.name)));
    long account = Long.parseLong(values.get("account_id")), date = millis(values.get(flags ? "flag_date" : "transaction_date"));
    if (!flags) return raw.as(Event.TRANSACTION, account, date, values.get("transaction_id"), raw.value());
    byte kind = values.get("status").equals("FLAGGED") ? Event.FLAGGED : Event.CLEARED;
    return raw.as(kind, account, date, "", members(values));
  }

  private CharBuffer text(byte[] value) throws IOException {
    require(value != null, "the value", "is null");
    if (value.length > maxBytes) throw new IOException("too long: " + value.length + " bytes, the limit is " + maxBytes);
    ByteBuffer bytes = ByteBuffer.wrap(value);
    if (value.length >= 5 && value[0] == 0) {
      String schema = Integer.toUnsignedString(bytes.getInt(1));
      throw new IOException("Confluent wire format (magic byte 0, schema id " + schema + "), not JSON");
    }
    CharBuffer text = CharBuffer.allocate(value.length);
    if (StandardCharsets.UTF_8.newDecoder().decode(bytes, text, true).isError())
      throw new IOException("not UTF-8 at byte " + (bytes.position() + 1));
    text.flip();
    require(text.isEmpty() || text.get(0) != '\ufeff', "starts", "with a byte-order mark");
    return text;
  }

  /** What Jackson found, without the parts of its texts that are for programmers. */
  private String why(JsonProcessingException e) {
    String text = e.getOriginalMessage();
    if (text.startsWith("Duplicate field")) return "a field is repeated";
    if (e instanceof StreamConstraintsException) return "nested deeper than " + maxDepth;
    long at = e.getLocation() == null ? -1 : e.getLocation().getCharOffset();
    return "not JSON: " + text.lines().findFirst().orElse("").replaceFirst("( \\(start marker at|: enable ).*", "")
        + (at < 0 ? "" : " at character " + (at + 1));
  }

  private static void require(boolean right, String what, String why) throws IOException {
    if (!right) throw new IOException(what + " " + why);
  }

  private static boolean exists(String date) {
    try {
      millis(date);
      return !date.startsWith("0000");
    } catch (DateTimeException e) {
      return false;
    }
  }

  private static long millis(String date) { // Java's own parser takes four times as long
    return LocalDateTime.of(number(date, 0, 4), number(date, 5, 7), number(date, 8, 10), number(date, 11, 13),
        number(date, 14, 16), number(date, 17, 19)).toEpochSecond(ZoneOffset.UTC) * 1000 + number(date, 20, 23);
  }

  private static int number(String date, int from, int to) { return Integer.parseInt(date, from, to, 10); }

  private byte[] members(Map<String, String> found) throws IOException {
    Map<String, String> members = new LinkedHashMap<>();
    copied.forEach((field, name) -> members.put(name, found.get(field)));
    byte[] object = json.writeValueAsBytes(members);
    return Arrays.copyOfRange(object, 1, object.length - 1);
  }
}
