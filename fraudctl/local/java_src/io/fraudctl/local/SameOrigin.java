package io.fraudctl.local;

import java.util.Locale;
import java.util.regex.Pattern;

/**
 * Which requests a server on loopback answers: those of programs, and those of its own pages. Every page in a browser
 * can send requests to 127.0.0.1, so that listening there is no protection, and ports can be tried.
 *
 * <p>fraudctl/local/lambda_runner/server.py has the same rule for the function runner; one table of requests, in
 * tests/e2e/test_web_pages.py, holds for both.
 */
final class SameOrigin {
  /** The port may be any: a page cannot choose it apart from where it connects to, and a tunnel (ssh -L) changes it. */
  private static final Pattern LOOPBACK = Pattern.compile("(127\\.0\\.0\\.1|localhost)(:\\d{1,5})?");

  private SameOrigin() {}

  /**
   * Returns why a request is refused, or null if it is not. The arguments are its headers Host, Origin and
   * Sec-Fetch-Site, null where it has none.
   *
   * <p>Host: a page whose own name an attacker's DNS server points at 127.0.0.1 (DNS rebinding) is same-origin to the
   * browser, but sends its name. Origin: sent with whatever a page's script may read the answer of, and with every POST.
   * Sec-Fetch-Site: sent with all the rest, {@code <img src=...>} and links among it, by Chrome 76, Firefox 90 and
   * Safari 16.4 on (https://www.w3.org/TR/fetch-metadata/). Programs send neither of the latter two.
   */
  static String refusal(String host, String origin, String site) {
    String name = host == null ? "" : host.toLowerCase(Locale.ROOT);
    if (!LOOPBACK.matcher(name).matches()) return "Host is not 127.0.0.1 or localhost";
    if (origin != null && !origin.toLowerCase(Locale.ROOT).equals("http://" + name)) return "Origin is another site";
    if (site != null && !site.equals("same-origin") && !site.equals("none")) return "sent by a page of another site";
    return null;
  }
}
