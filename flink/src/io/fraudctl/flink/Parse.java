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
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.ObjectMapper;
import org.apache.flink.streaming.api.functions.ProcessFunction;
import org.apache.flink.util.*;

/** Bytes to transactions or flag events, by the field rules in the properties; what is malformed becomes a dead letter. */
@SuppressWarnings("serial")
final class Parse extends ProcessFunction<Event, Event> {
  static final OutputTag<Event> DEAD = new OutputTag<>("dead-letters", Event.TYPE);

  /** What a field holds: number or string, its text, and what is said of another one. */
  private enum Kind {
    ACCOUNT(true, "[1-9]\\d*", "is not an integer from 1 on"),
    AMOUNT(true, "\\d{1,9}(\\.\\d{1,2})?", "is not an amount from 0.00 to 999999999.99"),
    DATE(false, "(?!0000)\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d\\.\\d{3}Z", "is not YYYY-MM-DDTHH:MM:SS.mmmZ"),
    IDENTIFIER(false, "[^\\p{Cc}\\p{Cs}]*", "is not a string without control characters and unpaired surrogates"),
    STATUS(false, "FLAGGED|CLEARED", "is neither FLAGGED nor CLEARED"),
    TEXT(false, "[^\\p{Cs}]*", "is not a string without unpaired surrogates");

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
    String text(JsonToken token, String text) throws IOException {
      if (token == JsonToken.VALUE_NULL && nullable) return null;
      require(kind.number ? token.isNumeric() : token == JsonToken.VALUE_STRING, name, kind.wrong);
      int length = text.codePointCount(0, text.length());
      require(length >= shortest && length <= longest, name, "has too few or too many characters");
      require(kind.pattern.matcher(text).matches(), name, kind.wrong);
      return text;
    }
  }

  private final boolean flags;
  private final Map<String, Field> fields = new LinkedHashMap<>();
  private final Set<String> forbidden;
  private final Map<String, String> copied = new LinkedHashMap<>(); // field of a flag event -> its name in a detection
  private final int maxBytes;
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
    // The limit on bytes bounds everything but depth. Names come from strangers: neither intern them nor refuse odd ones.
    json = new ObjectMapper(new JsonFactoryBuilder().streamReadConstraints(StreamReadConstraints.builder().maxNumberLength(maxBytes)
        .maxNameLength(maxBytes).maxNestingDepth(properties.getInt("max.depth")).build())
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
    } catch (IOException | DateTimeException | NumberFormatException e) {
      String why = e instanceof JsonProcessingException j ? j.getOriginalMessage() : e.getMessage();
      byte kind = flags ? Event.BAD_FLAG : Event.BAD_TRANSACTION;
      context.output(DEAD, raw.as(kind, 0, 0, why.replaceAll("[\\p{C}\\p{Z}&&[^ ]]", "?"), raw.value(), raw.key()));
      bad.inc();
      return;
    }
    out.collect(event);
    good.inc();
  }

  /** Makes a raw record a transaction or a flag event; the exceptions caught above say what is wrong with it. */
  Event parse(Event raw) throws IOException {
    require(raw.value() != null, "the value", "is null");
    require(raw.value().length <= maxBytes, "the value", "is too long");
    CharBuffer text = StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(raw.value())); // Jackson's is less strict
    Map<String, String> found = new HashMap<>();
    try (JsonParser parser = json.createParser(text.array(), 0, text.length())) {
      require(parser.nextToken() == JsonToken.START_OBJECT, "the value", "is not a JSON object");
      while (parser.nextToken() == JsonToken.FIELD_NAME) {
        String name = parser.currentName();
        Field field = fields.get(name);
        require(field != null || !forbidden.contains(name), name, "is a field of detections");
        JsonToken token = parser.nextToken();
        if (field == null) parser.skipChildren();
        else found.put(name, field.text(token, parser.getText()));
      }
      require(parser.nextToken() == null, "the value", "goes on after the JSON object");
    }
    for (String name : fields.keySet()) require(found.containsKey(name), name, "is missing");
    long account = Long.parseLong(found.get("account_id")), date = millis(found.get(flags ? "flag_date" : "transaction_date"));
    if (!flags) return raw.as(Event.TRANSACTION, account, date, found.get("transaction_id"), raw.value(), null);
    byte kind = found.get("status").equals("FLAGGED") ? Event.FLAGGED : Event.CLEARED;
    return raw.as(kind, account, date, "", members(found), null);
  }

  private static void require(boolean right, String what, String why) throws IOException {
    if (!right) throw new IOException(what + " " + why);
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
