/* A peer made of libnice, as a process of its own; its lines are those of interop.py.

   Arguments: controlling|controlled, then any of: --stun HOST PORT, --turn HOST PORT USER
   PASSWORD, --trickle, --regular (nomination; libnice's own is aggressive). It ends when its
   input does. */

#include <agent.h>
#include <glib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COMPONENT 1
#define SDP_PREFIX "a=candidate:"

static NiceAgent *agent;
static guint stream;
static gboolean trickles;
static GMainLoop *loop;

static void
say_candidate (NiceCandidate *candidate)
{
  char *sdp = nice_agent_generate_local_candidate_sdp (agent, candidate);
  printf ("candidate %s\n", sdp + strlen (SDP_PREFIX));
  g_free (sdp);
}

static void
on_candidate (NiceAgent *from, NiceCandidate *candidate, gpointer unused)
{
  if (trickles)
    say_candidate (candidate);
}

static void
on_gathered (NiceAgent *from, guint stream_id, gpointer unused)
{
  if (!trickles) {
    GSList *candidates = nice_agent_get_local_candidates (agent, stream, COMPONENT);
    for (GSList *item = candidates; item; item = item->next)
      say_candidate (item->data);
    g_slist_free_full (candidates, (GDestroyNotify) nice_candidate_free);
  }
  printf ("end-of-candidates\n");
}

static void
say_end (NiceCandidate *candidate)
{
  char host[NICE_ADDRESS_STRING_LEN];
  nice_address_to_string (&candidate->addr, host);
  printf (" %s %u %s", host, nice_address_get_port (&candidate->addr),
      nice_candidate_type_to_string (candidate->type));
}

static void
on_selected (NiceAgent *from, guint stream_id, guint component, NiceCandidate *local,
    NiceCandidate *remote, gpointer unused)
{
  gboolean controlling;
  g_object_get (agent, "controlling-mode", &controlling, NULL);
  printf ("selected %s", controlling ? "controlling" : "controlled");
  say_end (local);
  say_end (remote);
  printf ("\n");
}

static void
on_data (NiceAgent *from, guint stream_id, guint component, guint size, char *data,
    gpointer unused)
{
  printf ("received %.*s\n", (int) size, data);
}

static gboolean
on_line (GIOChannel *input, GIOCondition condition, gpointer unused)
{
  char *line = NULL;
  gsize end;
  if (g_io_channel_read_line (input, &line, NULL, &end, NULL) != G_IO_STATUS_NORMAL) {
    g_main_loop_quit (loop);
    return FALSE;
  }
  line[end] = '\0';
  if (g_str_has_prefix (line, "credentials ")) {
    char **words = g_strsplit (line, " ", 3);
    g_assert (nice_agent_set_remote_credentials (agent, stream, words[1], words[2]));
    g_strfreev (words);
  } else if (g_str_has_prefix (line, "candidate ")) {
    char *sdp = g_strconcat (SDP_PREFIX, line + strlen ("candidate "), NULL);
    NiceCandidate *candidate = nice_agent_parse_remote_candidate_sdp (agent, stream, sdp);
    g_assert (candidate);
    GSList *candidates = g_slist_append (NULL, candidate);
    nice_agent_set_remote_candidates (agent, stream, COMPONENT, candidates);
    g_slist_free_full (candidates, (GDestroyNotify) nice_candidate_free);
    g_free (sdp);
  } else if (g_str_equal (line, "connect")) {
    /* It checks as soon as it can. */
  } else if (g_str_equal (line, "end-of-candidates")) {
    nice_agent_peer_candidate_gathering_done (agent, stream);
  } else if (g_str_has_prefix (line, "send ")) {
    const char *data = line + strlen ("send ");
    nice_agent_send (agent, stream, COMPONENT, strlen (data), data);
  } else {
    g_error ("what is %s?", line);
  }
  g_free (line);
  return TRUE;
}

int
main (int argc, char **argv)
{
  const char *stun = NULL, **turn = NULL;
  guint stun_port = 0;
  NiceAgentOption options = NICE_AGENT_OPTION_CONSENT_FRESHNESS;
  for (int i = 2; i < argc; i++) {
    if (!strcmp (argv[i], "--stun")) {
      stun = argv[++i];
      stun_port = atoi (argv[++i]);
    } else if (!strcmp (argv[i], "--turn")) {
      turn = (const char **) argv + i + 1;
      i += 4;
    } else if (!strcmp (argv[i], "--trickle")) {
      trickles = TRUE;
      options |= NICE_AGENT_OPTION_ICE_TRICKLE;
    } else if (!strcmp (argv[i], "--regular")) {
      options |= NICE_AGENT_OPTION_REGULAR_NOMINATION;
    } else {
      g_error ("what is %s?", argv[i]);
    }
  }
  setvbuf (stdout, NULL, _IOLBF, 0);
  loop = g_main_loop_new (NULL, FALSE);
  agent = nice_agent_new_full (NULL, NICE_COMPATIBILITY_RFC5245, options);
  g_object_set (agent, "controlling-mode", !strcmp (argv[1], "controlling"), "upnp", FALSE,
      "ice-tcp", FALSE, NULL);
  if (stun)
    g_object_set (agent, "stun-server", stun, "stun-server-port", stun_port, NULL);
  stream = nice_agent_add_stream (agent, 1);
  if (turn)
    g_assert (nice_agent_set_relay_info (agent, stream, COMPONENT, turn[0], atoi (turn[1]),
        turn[2], turn[3], NICE_RELAY_TYPE_TURN_UDP));
  g_signal_connect (agent, "new-candidate-full", G_CALLBACK (on_candidate), NULL);
  g_signal_connect (agent, "candidate-gathering-done", G_CALLBACK (on_gathered), NULL);
  g_signal_connect (agent, "new-selected-pair-full", G_CALLBACK (on_selected), NULL);
  nice_agent_attach_recv (agent, stream, COMPONENT, g_main_loop_get_context (loop), on_data, NULL);

  char *ufrag, *password;
  g_assert (nice_agent_get_local_credentials (agent, stream, &ufrag, &password));
  printf ("credentials %s %s\n", ufrag, password);
  g_assert (nice_agent_gather_candidates (agent, stream));
  g_io_add_watch (g_io_channel_unix_new (0), G_IO_IN | G_IO_HUP, on_line, NULL);
  g_main_loop_run (loop);
  g_object_unref (agent);
  return 0;
}
