package io.fraudctl.flink;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.Base64;
import java.util.HashMap;
import java.util.Map;
import org.apache.flink.util.ParameterTool;

/**
 * Runs {@link Parse} over standard input. A line is "transaction" or "flag", a blank and the value in base64 ("null" for
 * none); the answer is "good", kind, account, date, id and value (both in base64), or "malformed" and why.
 */
public final class ParseMain {
  public static void main(String[] arguments) throws Exception {
    Map<String, String> properties = new HashMap<>();
    for (String argument : arguments) {
      properties.put(argument.substring(0, argument.indexOf('=')), argument.substring(argument.indexOf('=') + 1));
    }
    Parse transactions = new Parse(false, ParameterTool.fromMap(properties));
    Parse flags = new Parse(true, ParameterTool.fromMap(properties));
    BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
    for (String line; (line = in.readLine()) != null; ) {
      String[] part = line.split(" ", 2);
      byte[] value = part[1].equals("null") ? null : Base64.getDecoder().decode(part[1]);
      try {
        Event event = (part[0].equals("flag") ? flags : transactions).parse(new Event(Event.RAW, 0, 0, 0, 0, 0, "", value, null, null));
        Base64.Encoder base64 = Base64.getEncoder();
        System.out.println("good " + event.kind() + " " + event.account() + " " + event.date() + " "
            + base64.encodeToString(event.text().getBytes("UTF-8")) + " " + base64.encodeToString(event.value()));
      } catch (java.io.IOException e) {
        System.out.println("malformed " + String.valueOf(e.getMessage()).replaceAll("\\s+", " "));
      }
      System.out.flush();
    }
  }
}
